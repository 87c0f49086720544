"""Whether somebody's runs may be a row of a published table, and the file that carries them.

rules.py      all rules of a row: those of trust.py, of table.py and of texts.py
settings.py   which of a configuration's fields are data, budget, evaluation, or the method's own
data.py       whether reward models learned from the same data
overlap.py    evaluation prompts that are in the training prompts
findings.py   the verdicts
bundle.py     the file: written always alike, read without trust
"""
