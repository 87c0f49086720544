"""Records -> tables, comparisons, figures and the regression check.

analysis/ computes; regression/ holds runs against earlier ones; views/, plots/ and site/ show.
Loads no torch and no training code, so that results can be read where nothing can train.
"""
