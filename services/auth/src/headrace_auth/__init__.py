"""The auth service: who is this, and may they."""
