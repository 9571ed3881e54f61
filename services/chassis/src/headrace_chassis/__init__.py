"""What every headrace service runs on."""
