"""What a policy means to a deployment: whether it fits, how it differs from the one in force, and whom that affects."""
