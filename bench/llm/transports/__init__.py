"""The ways to a model; all take requests and deliver exactly one answer to each.

protocol.py     what they have in common; opening.py opens the one that the options name
messages.py, batches.py, openai_chat.py, replay.py    implement it
calls.py        what those share that ask at once; claude.py what those share that ask Claude
ordering.py     batches: none lost, none ordered twice; ledger.py notes them, watching.py waits
outcomes.py     what an API says when it gives no answer
"""
