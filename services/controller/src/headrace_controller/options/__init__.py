"""The options that users may set: kinds, checks, and what they make of a cluster."""
