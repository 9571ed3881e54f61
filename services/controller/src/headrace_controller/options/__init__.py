"""Options that users may set, and what follows from their values."""
