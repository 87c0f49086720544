"""How a way to a model is opened.

`messages` asks at once, `batches` at half the price, `replay` reads a recorded file, `openai`
speaks to any OpenAI-compatible endpoint.
"""

from __future__ import annotations

from bench.llm.answers import AnswerStore
from bench.llm.money.budget import Budget
from bench.llm.options import LLMOptions
from bench.llm.transports.protocol import Say, Transport


def open_transport(
    options: LLMOptions, budget: Budget, answers: AnswerStore, say: Say
) -> Transport:
    """Open the way that the options name.

    Args:
        options: model and transport.
        budget: what may be spent.
        answers: the store; batches are noted beside it, and what an earlier process ordered goes
            straight into it.
        say: receives a line for people.

    Raises:
        UserError: a key or a file is missing; the message names the variable or option.
    """
    if options.transport == "replay":
        from bench.llm.transports.replay import Replay

        return Replay(options)
    if options.transport == "openai":
        from bench.llm.transports.openai_chat import OpenAIChat

        return OpenAIChat(options, budget, say)
    if options.transport == "batches":
        from bench.llm.transports.batches import Batches

        return Batches(options, budget, answers, say)
    from bench.llm.transports.messages import Messages

    return Messages(options, budget)
