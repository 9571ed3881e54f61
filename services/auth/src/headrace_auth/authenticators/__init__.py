"""Ways to prove who one is: each is a plugin with settings of its own, found by entry point."""
