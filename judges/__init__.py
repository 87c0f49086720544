"""Judges, which `bench.plugins.registry` finds by name, and what is common to all of them.

gold.py                   the testbed's own program
claude.py, openai.py      language models; pairwise.py asks them, prompts/ has the questions,
                          canaries.py tries them out first
replay.py                 annotations from a file
judging.py, agreement.py  from files to a report; alpaca_eval.py reads and writes the files
references.py             which set of references it was
diagnostics.py, marks.py, report.py, show.py    what came out, and whether it may be quoted
"""
