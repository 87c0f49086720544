"""Curves for the tests of what is read at equal KL."""

import json


def write_curve(folder, rows):
    """Put the rows, (step -> values), in the place of a run's curve."""
    lines = [json.dumps({"step": step, **values}) for step, values in rows.items()]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def straight(*, end, length, gold=0.1, start=20.0, **others):
    """Eleven steps to KL `end`, whose validations at 0, 5 and 10 lie on a straight line."""
    rows = {step: {"kl": end * (step - 1) / 10, "reward": 0.1, **others} for step in range(1, 12)}
    for step in (0, 5, 10):
        share = step / 10
        rows.setdefault(step, {}).update(
            validation_kl=end * share,
            validation_length=start + share * (length - start),
            validation_gold=gold * share,
        )
    return dict(sorted(rows.items()))
