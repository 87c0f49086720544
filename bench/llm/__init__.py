"""Questions to large language models: one transport layer for the judge and the editor.

requests.py     a question and its key
retries.py      when a question is asked again
json_answers.py the JSON of an answer: asked for in words, found in a text
asking.py       store, budget and rounds: what judge and editor call
answers.py      the append-only store
caching.py      what questions begin with alike, paid once
templates.py    prompt files, filled in one pass
options.py      which model, and how it is asked; families.py: who made it
running.py      the event loop
transports/     the ways to a model: at once, in batches, OpenAI-compatible, from a file
money/          prices, the budget, and what it would cost before anything is asked
"""

from bench.llm.answers import Answer, AnswerStore, Usage
from bench.llm.asking import Asker, Receive, Tally
from bench.llm.options import LLMOptions
from bench.llm.requests import Request
from bench.llm.retries import mending, once_more

__all__ = [
    "Answer",
    "AnswerStore",
    "Asker",
    "LLMOptions",
    "Receive",
    "Request",
    "Tally",
    "Usage",
    "mending",
    "once_more",
]
