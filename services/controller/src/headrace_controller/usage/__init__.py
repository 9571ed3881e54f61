"""What was used, and budgets."""
