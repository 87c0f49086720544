"""How soon a problem of seconds is solved, by where is paid: `python -m benchmarks.credit`.

problem.py   a tiny model and what its tokens earn
placing.py   a reward that does not err, placed as each method's token source places it
measuring.py steps to solve, over learning rates and seeds
drawing.py   the figure
"""
