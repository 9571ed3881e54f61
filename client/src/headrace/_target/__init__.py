"""Which headrace to talk to, and how to log in there."""
