"""What users and their clients may ask: the public services, and the checks, pages and answers behind them."""
