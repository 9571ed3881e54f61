"""The controller: clusters, backends, agents."""
