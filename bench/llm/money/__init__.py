"""What asking costs.

budget.py       money is reserved before it is spent, by what answers took so far (observed.py)
prices.py       the dated table prices.yaml
estimate.py     what it would cost, without asking; show.py shows it
"""
