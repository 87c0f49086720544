"""What judges share, and what a judgement comes to.

pairs.py, canaries.py     what is compared; outputs whose verdict is known, tried before all else
alpaca_eval.py            AlpacaEval's files; references.py: which set of references it was
files.py, agreement.py    from files to a report, and to how far two judges agree
diagnostics.py, marks.py, report.py    what came out, and whether it may be quoted; show.py shows it
"""
