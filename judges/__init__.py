"""Judges, which `bench.plugins.registry` finds by name; what they share is in `bench.judging`.

gold.py                   the testbed's own program
claude.py, openai.py      language models; pairwise.py asks them, prompts/ has the questions
replay.py                 annotations from a file
reward_model.py           a reward model of pairs that no method learns from
"""
