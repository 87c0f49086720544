"""Build a base of the testbed and its tokenizer: 6 to 10 minutes on two cores for the shipped one.

    python -m bench.suites.testbed.base [--size testbed-m] [--out DIR] [--documents N] [--device D]

The shipped one is written over itself. A larger one goes into the store, where the preset of its
name finds it, unless `--out` names another folder (then: `--set model.path=DIR`).
"""

# A script that people watch: printing is its interface.
# ruff: noqa: T201

from __future__ import annotations

import argparse
import json
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from bench.errors import UserError
from bench.models.devices import pick_device
from bench.pipeline.built import MODEL, Built
from bench.pipeline.store import Store
from bench.suites.testbed import pretraining
from bench.suites.testbed.pretraining import DOCUMENTS, SHIPPED, SIZES

ASSETS = Path(__file__).parent / "assets"
COMMAND = "bench.suites.testbed.base"


def build(
    name: str, out: Path, documents: int = DOCUMENTS, device: str = "auto"
) -> dict[str, float]:
    """Pretrain the base of a size (`SIZES`) and write it to `out`; print progress.

    Returns:
        What `pretrain` does.

    Raises:
        UserError: the device is not there.
    """
    where, size = pick_device(device), SIZES[name]
    corpus = pretraining.write_corpus(documents)
    if name == SHIPPED:
        tokenizer = pretraining.train_tokenizer(corpus[:20_000])
    else:  # one tokenizer, so that prompts, responses and rewards a token are those of all sizes
        tokenizer = PreTrainedTokenizerFast.from_pretrained(ASSETS)
    encoded = tokenizer(corpus)["input_ids"]
    print(f"{len(encoded)} documents, {sum(map(len, encoded))} tokens", flush=True)
    model = pretraining.new_model(tokenizer, size).to(where)
    print(f"{model.num_parameters()} parameters on {where}", flush=True)
    figures = pretraining.pretrain(model, encoded, tokenizer.pad_token_id, size.peak_lr)
    pretraining.save(model, tokenizer, out)
    return figures


def build_into_store(name: str, device: str, store: Store) -> None:
    """The same, whole or not at all, to where the preset of that name looks for it."""
    with Built(COMMAND, name).building(store) as made:
        if made.artifact is None:
            made.stats.update(build(name, made.path / MODEL, device=device))
            print(json.dumps(made.stats), flush=True)
    print(f"{name}: {Built(COMMAND, name).folder(store)}", flush=True)


def main() -> None:
    """Read the arguments and build."""
    parser = argparse.ArgumentParser(description="Build a base model of the testbed.")
    parser.add_argument(
        "--size", choices=SIZES, default=SHIPPED, help="which; default: %(default)s"
    )
    parser.add_argument(
        "--out", type=Path, help="folder; default: the shipped one's, or of others in the store"
    )
    parser.add_argument("--documents", type=int, default=DOCUMENTS, help="size of the corpus")
    parser.add_argument(
        "--device", default="auto", help="auto (a GPU where there is one), cpu, cuda:N"
    )
    parser.add_argument(
        "--store", type=Path, help="default: BENCH_STORE, or the user's cache folder"
    )
    given = parser.parse_args()
    if given.documents < 1:
        parser.error("--documents must be at least 1")
    out = given.out or (ASSETS if given.size == SHIPPED else None)
    if out is None and given.documents != DOCUMENTS:
        parser.error(
            f"--documents: the base of the preset {given.size} has {DOCUMENTS}; give --out"
        )
    try:
        if out is None:
            build_into_store(given.size, given.device, Store(given.store))
        else:
            print(json.dumps(build(given.size, out, given.documents, given.device)), flush=True)
    except UserError as error:
        parser.exit(error.exit_code, f"{error}\n")


if __name__ == "__main__":
    main()
