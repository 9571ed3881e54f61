"""Envoy asks here whether a request for a dashboard may pass (ext_authz).

It runs in threads of its own, apart from the event loop of AuthService: whatever blocks that loop must not refuse
everybody's dashboards.
"""
