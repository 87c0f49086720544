"""What asking costs: prices, the budget, an estimate before anything is asked."""
