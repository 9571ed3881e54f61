"""The audit log: who did what to which cluster, token or link, when, from where, with which result."""
