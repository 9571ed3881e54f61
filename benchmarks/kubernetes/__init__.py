"""What headrace costs and how fast it is on a Kubernetes."""
