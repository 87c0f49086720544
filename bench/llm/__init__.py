"""Questions to large language models: one transport layer for the judge and the editor.

requests.py     a question and its key
retries.py      when a question is asked again
json_answers.py the JSON of an answer: asked for in words, found in a text
asking.py       store, budget and rounds: what judge and editor call
answers.py      the append-only store
transport.py    the protocol; messages, batches, replay and openai_chat implement it, and
                opening.py opens one
ordering.py     batches: none lost, none ordered twice; watching.py until they end
budget.py       money is reserved before it is spent, by what answers took (observed.py);
                prices.py has the dated table
templates.py    prompt files, filled in one pass
estimate.py     what it would cost, without asking; show.py shows it
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
