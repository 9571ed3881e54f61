"""The Kubernetes backend: each scheduler and each worker is one pod."""
