"""Release on evidence: shadow, canary and drift, and the statistics behind them."""
