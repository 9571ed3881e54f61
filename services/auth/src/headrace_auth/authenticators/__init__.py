"""Ways to prove who one is. A new one is a new file here, or an entry point of another package."""
