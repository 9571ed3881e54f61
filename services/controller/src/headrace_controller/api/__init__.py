"""The public services, and the checks, lists and answers behind them."""
