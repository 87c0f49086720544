"""What asking would cost, in calls, tokens, dollars and time, without asking."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from bench.llm.answers import Answer, Usage
from bench.llm.asking import Asker
from bench.llm.caching import BYTES_PER_TOKEN
from bench.llm.requests import Request

ASSUMED_OUTPUT_TOKENS = 400
"""Of a short structured answer with its thinking, where no answer is known: an assumption."""
ASSUMED_SECONDS = 6.0
"""Of a call, likewise."""
_COUNTED = 8  # requests whose tokens the API is asked for; it does not bill that


@dataclass(frozen=True)
class Estimate:
    """What is not in the store yet would come to.

    Attributes:
        calls: to be made.
        stored: questions that are answered already.
        input_tokens, output_tokens: expected, all calls together.
        most_output_tokens: if every answer used its room, and none were asked again.
        usd, most_usd: expected and at most, likewise; None where the price is not known.
        seconds: expected; None for batches, which take up to a day.
        basis: what each number rests on, for people.
    """

    model: str
    calls: int
    stored: int
    input_tokens: int
    output_tokens: int
    most_output_tokens: int
    usd: float | None
    most_usd: float | None
    seconds: float | None
    basis: tuple[str, ...]


def estimate(
    requests: Iterable[Request],
    asker: Asker,
    answer_tokens: float = ASSUMED_OUTPUT_TOKENS,
    assumes: str = "",
) -> Estimate:
    """Count what is not stored, and what it would cost.

    Args:
        requests: the questions; follow-ups (retries) cannot be foreseen and are not counted.
        asker: whose store, model and prices hold.
        answer_tokens: of an answer, thinking included, while no answer is known.
        assumes: what the requests themselves rest on, for the basis; "": nothing.
    """
    survey = _survey(requests, asker)
    options, prices, calls = asker.options, asker.budget.prices, survey.calls
    ratio, said = _tokens_per_byte(survey.samples, asker)
    outputs = [float(answer.usage.output_tokens) for answer in survey.known]
    likely = min(answer_tokens, survey.room / calls) if calls else answer_tokens
    output, output_said = _mean(outputs, likely, "output tokens a call")
    times = [answer.seconds for answer in survey.known if answer.seconds is not None]
    seconds, seconds_said = _mean(times, ASSUMED_SECONDS, "seconds a call")
    tokens = math.ceil(survey.size * ratio)
    written, read = (math.ceil(size * ratio) for size in (survey.written, survey.read))
    first, most = (
        Usage(cache_write_tokens=written, cache_read_tokens=read),
        Usage(cache_write_tokens=written + read),
    )
    batch = options.transport == "batches"
    basis = [said, output_said] + ([] if batch else [seconds_said])
    if written:
        basis.append(
            f"{written:,} input tokens are written to the prompt cache, {read:,} read from it"
        )
    if assumes:
        basis.append(assumes)
    if options.retry:
        basis.append(f"what retry={','.join(options.retry)} asks again is not counted")
    return Estimate(
        model=options.model,
        calls=calls,
        stored=len(survey.known),
        input_tokens=tokens,
        output_tokens=round(calls * output),
        most_output_tokens=survey.room,
        usd=_cost(asker, calls, tokens, calls * output, first),
        most_usd=_cost(asker, calls, tokens, survey.room, most),
        seconds=None if batch else calls * seconds / options.concurrency,
        basis=(*basis, f"prices of {prices.date} ({prices.source})"),
    )


def repeated_tokens(asking: Any, texts: Sequence[Any], repeated: Sequence[str] = ()) -> float:
    """Tokens, on average, of what an answer repeats.

    Args:
        asking: a judge or an editor; asked itself if its `repeated(*texts)` says it by request.
        texts: what its `requests` takes.
        repeated: such texts, where it does not say.
    """
    own = getattr(asking, "repeated", None)
    found = own(*texts) if own else repeated
    size = sum(len(text.encode()) for text in found) / max(1, len(found))
    return size / BYTES_PER_TOKEN


@dataclass
class _Survey:
    """Requests by whether they are answered: bytes and room of those that are not.

    Of the bytes `written` is what will be written to the prompt cache, `read` what is read from it.
    """

    calls: int = 0
    size: int = 0
    written: int = 0
    read: int = 0
    room: int = 0
    samples: list[Request] = field(default_factory=list)
    known: list[Answer] = field(default_factory=list)


def _survey(requests: Iterable[Request], asker: Asker) -> _Survey:
    found, rng = _Survey(), random.Random(0)
    beginnings: set[int] = set()
    for request in requests:
        answer = asker.answers.get(request.key)
        if answer is not None and answer.paid:
            found.known.append(answer)
            continue
        found.calls += 1
        found.size += request.size
        if cached := asker.budget.cached(request):
            if hash(cached) in beginnings:
                found.read += len(cached.encode())
            else:
                found.written += len(cached.encode())
            beginnings.add(hash(cached))
        found.room += request.max_tokens
        _keep_some(found.samples, request, found.calls, rng)
    return found


def _keep_some(samples: list[Request], request: Request, seen: int, rng: random.Random) -> None:
    """Keep a random few of a stream, each of the `seen` so far with the same chance."""
    if len(samples) < _COUNTED:
        samples.append(request)
    elif (place := rng.randrange(seen)) < _COUNTED:
        samples[place] = request


def _cost(
    asker: Asker, calls: int, input_tokens: float, output_tokens: float, cache: Usage
) -> float | None:
    """Of all calls: the price may have bands, so that of the mean call, times their number.

    Args:
        asker: whose prices hold.
        calls: how many.
        input_tokens: of all of them, what is cached among them.
        output_tokens: likewise.
        cache: tokens that are written to the prompt cache or read from it.
    """
    if not calls:
        return 0.0
    written, read = cache.cache_write_tokens, cache.cache_read_tokens
    usage = Usage(
        input_tokens=round((input_tokens - written - read) / calls),
        output_tokens=round(output_tokens / calls),
        cache_write_tokens=round(written / calls),
        cache_read_tokens=round(read / calls),
    )
    one = asker.budget.cost(asker.options.model, usage)
    return None if one is None else one * calls


def _mean(values: Sequence[float], assumed: float, what: str) -> tuple[float, str]:
    """The mean of what is known, or what is assumed; and which of the two, in words."""
    if values:
        mean = fmean(values)
        return mean, f"{mean:.3g} {what}: mean of {len(values)} stored answers"
    return assumed, f"{assumed:g} {what}: assumed"


def _tokens_per_byte(samples: Sequence[Request], asker: Asker) -> tuple[float, str]:
    """Input tokens for each byte of a body, as the API counts them, or assumed."""
    counted = _count(samples) if asker.options.transport in ("messages", "batches") else None
    if counted is None:
        return 1 / BYTES_PER_TOKEN, f"{BYTES_PER_TOKEN} bytes an input token: assumed"
    size = sum(request.size for request in samples)
    said = f"{size / counted:.3g} bytes an input token: {len(samples)} requests counted by the API"
    return counted / size, said


def _count(samples: Sequence[Request]) -> int | None:
    """Tokens of the sampled requests, counted by the API; None where it cannot be reached."""
    import anthropic

    if not samples:
        return None
    try:
        with anthropic.Anthropic(max_retries=0, timeout=10.0) as client:
            return sum(_count_one(client, request) for request in samples)
    except (anthropic.AnthropicError, TypeError):  # TypeError: no key
        return None


def _count_one(client: Any, request: Request) -> int:
    body = {key: value for key, value in request.body.items() if key != "max_tokens"}
    return int(client.messages.count_tokens(**body).input_tokens)
