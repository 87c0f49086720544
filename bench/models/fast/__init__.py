"""Ways to compute the same numbers faster; each can be left out."""
