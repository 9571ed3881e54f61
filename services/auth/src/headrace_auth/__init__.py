"""The auth service: who a caller is, and which dashboards they may open."""
