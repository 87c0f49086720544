"""What a reader of a table must know before trusting its rows: what its runs do not share."""

from collections import defaultdict
from collections.abc import Callable, Iterator

from bench.llm.families import family, same_family
from bench.records.files import Record
from leaderboard.analysis.runs import Group

NAMED = 4  # so many differing packages are named

Facts = dict[str, str]


def caveats(groups: list[Group]) -> tuple[str, ...]:
    """A line for each, those of several labels in one.

    - seeds of one row that ran different code, packages, or machines, or stages otherwise than
      their run (found in the store, say): their spread is then not that of the seed alone, and
      their times do not average
    - a judge of the family of the model that made the edits
    - a judge whose own diagnostics speak against its verdicts
    - reward models that learned from unequal numbers of pairs, or elsewhere
    """
    labels: dict[str, list[str]] = defaultdict(list)
    for group in groups:
        for line in (*_mixed(group), *_families(group), *_marks(group), *_brought(group)):
            labels[line].append(group.label)
    own_lines = (f"{', '.join(own)}: {line}" for line, own in labels.items())
    return (*own_lines, *_unequal(groups))


def _mixed(group: Group) -> Iterator[str]:
    runs = sorted(group.ok.items())
    for what, facts_of in _ASPECTS.items():
        told = {seed: facts_of(run.record) for seed, run in runs}
        facts = {seed: own for seed, own in told.items() if own is not None}
        names = sorted({name for own in facts.values() for name in own})
        names = [name for name in names if len({own.get(name) for own in facts.values()}) > 1]
        if not names:
            continue
        seeds: dict[str, list[str]] = defaultdict(list)
        for seed, own in facts.items():
            text = ", ".join(f"{name} {own.get(name, 'none')}" for name in names[:NAMED])
            seeds[text].append(str(seed))
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        found = "; ".join(f"{text} (seed {', '.join(own)})" for text, own in seeds.items())
        yield f"seeds {what}: {found}{more}."


def _code(record: Record) -> Facts:
    code = record.code
    facts = {"commit": (code.commit or "unknown")[:8]}
    facts |= {"method.py": code.method_sha[:8]} if code.method_sha else {}
    return facts | ({"local changes": (code.diff_sha or "unknown")[:8]} if code.dirty else {})


def _machine(record: Record) -> Facts:
    found = record.hardware.model_dump(exclude_none=True, exclude={"memory_gib"})
    return {name: str(value) for name, value in found.items()}


def _stages(record: Record) -> Facts | None:
    """What the run's stages were computed on, apart from its own machine; None: it is not told."""
    places = [stage.ran_on for stage in record.stages if stage.ran_on is not None]
    if not places:
        return None
    machine = record.hardware
    devices = {place.device for place in places} - {machine.gpu or machine.cpu}
    threads = {str(place.threads) for place in places} - {str(machine.threads)}
    processes = {str(place.processes) for place in places} - {"1"}
    known = {place.packed for place in places} - {None}
    packed = {"packed" if yes else "padded" for yes in known}
    return {
        "device": " + ".join(sorted(devices)) or "the run's own",
        "threads": " + ".join(sorted(threads)) or "the run's own",
        "batches": " + ".join(sorted(packed)) or "none",
        "processes": " + ".join(sorted(processes)) or "one",
    }


_ASPECTS: dict[str, Callable[[Record], Facts | None]] = {
    "of different code": _code,
    "with different packages": lambda record: record.packages,
    "on different machines": _machine,
    "whose stages were computed otherwise": _stages,
}


def training_pairs(record: Record) -> int | None:
    """The pairs that a run's reward model learned from; None: it has none, or that is not told."""
    counts = (stage.counts for stage in record.stages if stage.name == "reward_model")
    return next((own["pairs"] for own in counts if "pairs" in own), None)


def _unequal(groups: list[Group]) -> Iterator[str]:
    """Where rows of one seed learned from different numbers of pairs: what equal data would not do.

    Of equal data pairs may be left out of one set and not of another, where both sides are the
    same (`bench.training.comparisons`).
    """
    pairs = {
        group.label: own
        for group in groups
        if (own := {s: n for s, run in group.ok.items() if (n := training_pairs(run.record))})
    }
    seeds = {seed for own in pairs.values() for seed in own}
    if all(len({own[seed] for own in pairs.values() if seed in own}) < 2 for seed in seeds):
        return
    labels: dict[str, list[str]] = defaultdict(list)
    for label, own in pairs.items():
        few, many = min(own.values()), max(own.values())
        labels[f"{few:,}" if few == many else f"{few:,} to {many:,} by seed"].append(label)
    told = "; ".join(f"{', '.join(own)}: {n}" for n, own in labels.items())
    yield (
        f"Reward models learned from unequal numbers of pairs ({told}). A pair whose two sides are "
        "the same teaches nothing and is left out; any other gap is a difference in data."
    )


def _brought(group: Group) -> Iterator[str]:
    """What was trained elsewhere, on data that no record knows."""
    models = [run.record.brought.get("reward_model") for run in group.measured.values()]
    for model in {(one.name, one.granularity, one.kind) for one in models if one is not None}:
        name, granularity, kind = model
        yield (
            f"the reward model {name} ({granularity} level, {kind}) was brought along: it did not "
            "learn from the pairs that the others learned from."
        )


def _families(group: Group) -> Iterator[str]:
    found = set()
    for run in group.ok.values():
        judge, editor = run.record.judge, run.record.editor
        model = judge.model or judge.name
        if editor is not None and same_family(model, editor.source):
            found.add((model, editor.source))
    for model, source in sorted(found):
        yield (
            f"the judge ({model}) and the editor of the data ({source}) are both of the "
            f"{family(model)} family, and a judge may favour what its own family wrote."
        )


def _marks(group: Group) -> Iterator[str]:
    """Where position or ties decided; too many missing verdicts stop a run before it is one."""
    seeds: dict[str, list[str]] = defaultdict(list)
    for seed, run in sorted(group.ok.items()):
        judge = run.record.judge
        for mark in judge.marks:
            seeds[f"the judge ({judge.model or judge.name}), {mark}"].append(str(seed))
    for text, own in seeds.items():
        yield f"{text} (seed {', '.join(own)})."
