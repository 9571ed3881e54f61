"""The routes to clusters: told to the proxies, and acknowledged by them."""
