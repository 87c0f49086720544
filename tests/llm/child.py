"""A process that asks questions until it is done or killed: PATH N OPTIONS."""

import sys
from pathlib import Path

from bench.llm import Answer, Asker, LLMOptions, Request
from tests.llm.sending import request


def main(path: str, n: str, options: str) -> None:
    asker = Asker(LLMOptions.model_validate_json(options), Path(path), print)
    asker.ask((request(i) for i in range(int(n))), receive)
    print(asker.tally)


def receive(asked: Request, answer: Answer) -> Request | None:
    """More room for a truncated answer, once."""
    if answer.outcome == "truncated" and asked.max_tokens == 1000:
        return asked.with_room(4000)
    return None


if __name__ == "__main__":
    main(*sys.argv[1:])
