"""Identities: callers, rights, tokens and the deployment's keys."""
