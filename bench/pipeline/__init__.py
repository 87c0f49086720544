"""Stages and what becomes of them.

stage.py        what a stage is, its key, and how a graph of them is executed
sources.py      the code that decides a stage's result: what its modules import
store.py        finished stages: whole or not there
progress.py     what people see meanwhile; memory.py: the most memory that a stage held
"""
