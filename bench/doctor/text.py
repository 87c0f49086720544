"""Between text and tokens: where a response ends, and where it begins."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bench.doctor.findings import Finding, held
from bench.doctor.subject import PROBE, Subject
from bench.models.context import batch_rope
from bench.models.templates import PROMPT
from bench.stages.checks import context_needs, too_short
from bench.training.experience import Rollout


def eos(subject: Subject) -> Finding:
    """EOS is scored and counted, padding is not, and a response without EOS is unfinished.

    Looks at responses as they are drawn, and at ones for which a common token plays EOS and
    padding at once: then responses do end in it, and masks alone can tell the two apart.
    """
    tokens = subject.backbone.tokens
    with _played_by(subject, _common_token(subject.rollout)):
        played = subject.trainer().rollout()
        wrong = _miscounted(subject, played)
    wrong += _miscounted(subject, subject.rollout)
    ended = int(played.finished.sum() + subject.rollout.finished.sum())
    total = len(played.outputs) + len(subject.rollout.outputs)
    apart = _scored_apart(subject)
    allowed = subject.tolerance.logprob
    same = "the same id as padding" if tokens.pad_id in tokens.eos_ids else "not the padding's id"
    return held(
        not wrong and apart <= allowed,
        f"EOS is {' or '.join(map(str, tokens.eos_ids))}, {same}; {ended} of {total} responses "
        f"seen to end in it, {len(wrong)} miscounted (0); its log-probability is {apart:.1e} nats "
        f"off that of the bare model ({allowed:g})",
        "; ".join(dict.fromkeys(wrong))
        or "EOS must be scored like any token: mask padding by position, never by id",
    )


def _miscounted(subject: Subject, rollout: Rollout) -> list[str]:
    """What is wrong with the end of each response."""
    ends, most = subject.backbone.tokens.eos_ids, subject.config.ppo.max_new_tokens
    wrong = []
    for ids, mask, finished in zip(
        rollout.batch.responses, rollout.batch.mask, rollout.finished.tolist(), strict=True
    ):
        counted = ids[mask].tolist()
        if finished != (counted[-1] in ends):
            wrong.append("a response's `finished` does not say whether EOS is its last token")
        elif set(ends) & set(counted[:-1]):
            wrong.append("a response goes on behind EOS")
        elif not finished and len(counted) != most:
            wrong.append("an unfinished response counts fewer tokens than ppo.max_new_tokens")
    return wrong


@torch.no_grad()
def _scored_apart(subject: Subject) -> float:
    """How far EOS's log-probability in a batch is from the bare model's, one row at a time."""
    prompts, responses = subject.tokens
    backbone = subject.backbone
    batch = backbone.tokens.join(prompts, responses).to(backbone.device)
    found = backbone.logprobs(batch, PROBE)
    apart = 0.0
    for i, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        ids = torch.tensor([prompt + response], device=backbone.device)
        with backbone.using(PROBE) as model:
            logits = model(input_ids=ids, use_cache=False).logits[0, -2, : backbone.vocabulary]
        expected = torch.log_softmax(logits.float(), dim=-1)[response[-1]]
        apart = max(apart, float((found[i, len(response) - 1] - expected).abs()))
    return apart


def _common_token(rollout: Rollout) -> int:
    """The token that stands nearest to half of the responses."""
    rows = zip(rollout.batch.responses, rollout.batch.mask, strict=True)
    counts = Counter(token for ids, mask in rows for token in set(ids[mask].tolist()))
    half = len(rollout.outputs) / 2
    return min(counts, key=lambda token: (abs(counts[token] - half), token))


@contextmanager
def _played_by(subject: Subject, token: int) -> Iterator[None]:
    """EOS and padding are both `token` while this lasts."""
    backbone = subject.backbone
    real = backbone.tokens
    backbone.tokens = copy.copy(real)
    backbone.tokens.eos_id = backbone.tokens.pad_id = token
    backbone.tokens.eos_ids = [token]
    try:
        yield
    finally:
        backbone.tokens = real


def ending(subject: Subject) -> Finding:
    """The base ends some of its responses within `ppo.max_new_tokens`."""
    finished = subject.rollout.finished
    return held(
        bool(finished.any()),
        f"{int(finished.sum())} of {len(finished)} responses end in EOS within "
        f"ppo.max_new_tokens = {subject.config.ppo.max_new_tokens}",
        "the base never ends a response here: raise ppo.max_new_tokens, check that the tokenizer's "
        "EOS is the one that the model learned, or let SFT teach it (ppo.missing_eos_penalty "
        "alone makes it slow)",
        otherwise="warn",
    )


def template(subject: Subject) -> Finding:
    """Prompts differ, prompt and response tokens are those of the joined text, chats are chats."""
    tokens, texts = subject.backbone.tokens, subject.texts
    prompts = [tokens.prompt(prompt) for prompt, _ in texts]
    shared = len({prompt for prompt, _ in texts}) - len(set(map(tuple, prompts)))
    cut = sum(
        prompt + tokens.response(response)[:-1] != tokens.joined(asked, response)
        for prompt, (asked, response) in zip(prompts, texts, strict=True)
    )
    lost = sum(tokens.text(tokens.response(response)) != response for _, response in texts)
    found = {_SHARED: shared, _CUT: cut, _LOST: lost}
    problems = [line for line, count in found.items() if count]
    problems += _chat_problems(subject, prompts)
    return held(
        not problems,
        f"{len(texts)} demonstrations: {shared} prompts not told apart, {cut} joins cut through a "
        f"token, {lost} responses changed by the tokenizer (0)",
        "; ".join(problems),
        otherwise="FAIL" if shared else "warn",
    )


def context(subject: Subject) -> Finding:
    """Every prompt of the run and its response fit the model's positions."""
    backbone = subject.backbone
    settings = backbone.model.config
    needs = context_needs(subject.config, subject.suite, backbone.tokens)
    worst = max(needs, key=lambda need: need.total)
    there = "no limit stated" if backbone.context is None else f"{backbone.context} there"
    rope, problem = batch_rope(settings), too_short(settings, needs)
    return held(
        problem is None,
        f"prompt and response take {worst.prompt} + {worst.new} positions at most, {there}"
        + (f"; {rope} rope: behind them a row depends on the others" if rope else ""),
        problem or "",
    )


_SHARED = f"prompts share their tokens: the template lacks {PROMPT}"
_CUT = (
    "the response begins inside a token of the joined text: let the template end where a token ends"
)
_LOST = (
    "responses do not survive tokenizer and back: judges see other text than the demonstrations'"
)


def _chat_problems(subject: Subject, prompts: list[list[int]]) -> list[str]:
    """Where the template is not what the tokenizer says that the model was tuned with."""
    tokens, tokenizer = subject.backbone.tokens, subject.backbone.tokens.tokenizer
    bos, problems = tokenizer.bos_token_id, []
    if bos is not None and any(prompt[:2] == [bos, bos] for prompt in prompts):
        problems.append("prompts begin with BOS twice: take it out of the template")
    if getattr(tokenizer, "chat_template", None):
        asked = subject.texts[0][0]
        rendered = tokenizer.apply_chat_template(
            [{"role": "user", "content": asked}], tokenize=False, add_generation_prompt=True
        )
        ours = tokens.template.replace(PROMPT, asked)
        if rendered.removeprefix(tokenizer.bos_token or "").strip() != ours.strip():
            problems.append(
                "the tokenizer has a chat template and the run's differs from it: "
                f"{ours[:60]!r} against {rendered[:60]!r}; a tuned model expects its own, "
                "model.template=chat"
            )
    return problems
