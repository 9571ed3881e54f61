"""The routes to clusters: sent to the proxies, and acknowledged by them."""
