"""What every call passes on its way in: observe, errors, authenticate, deadline."""
