"""Records -> tables, comparisons, figures and the regression check.

Reads `bench.records.files` and `bench.stats` only, so that results can be read where nothing can train.
"""
