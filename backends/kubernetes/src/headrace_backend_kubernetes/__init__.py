"""headrace's Kubernetes backend: clusters as pods."""
