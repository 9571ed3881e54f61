"""Dashboards: links to them, and the answers to Envoy's question whether a request may pass (ext_authz)."""
