"""What binds a cluster whoever changes it: its owner, limits, groups, identifiers and authority."""
