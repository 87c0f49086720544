"""From a configuration to a record.

runner.py       one run: plan the stages, execute them, write down what came out
launch.py       from the command line's flags to runs; jobs.py: several at a time
rerun.py        a recorded run once more
"""
