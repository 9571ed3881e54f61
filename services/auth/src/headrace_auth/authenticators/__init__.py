"""Ways to log in: each is a plugin with settings of its own, found by entry point."""
