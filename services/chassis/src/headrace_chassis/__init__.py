"""What every headrace service runs on, and the embedded mode."""
