"""Records -> tables, comparisons, figures and the regression check.

analysis/ computes; regression/ holds runs against earlier ones; views/, plots/ and site/ show.
Reads `bench.records` and `bench.stats` only, so that results can be read where nothing can train.
"""
