"""The proxy: the control plane of Envoy."""
