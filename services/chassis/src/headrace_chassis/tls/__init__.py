"""TLS: certificates, listeners and channels."""
