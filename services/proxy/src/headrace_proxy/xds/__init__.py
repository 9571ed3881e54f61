"""The control plane: from routes to what each Envoy is sent."""
