"""The reward model stage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.files import file_sha256
from bench.models.classifier import Classifier
from bench.models.heads import RewardModel
from bench.models.names import ADAPTER, REWARD
from bench.models.segmenters import SENTENCES, Segments
from bench.plugins.targets import import_target
from bench.stages.pairs import (
    sft_samples,
    training_annotations,
    training_pairs,
    training_rankings,
    warnings,
)
from bench.stages.sft import MODEL, load_sft
from bench.training.checkpoints import Checkpoints
from bench.training.places import fit_places
from bench.training.reward_model import RewardSpec, normalise, train_reward_model

if TYPE_CHECKING:
    from bench.config.run import PreferenceConfig
    from bench.models.heads import Granularity
    from bench.models.tokens import Tokens
    from bench.pipeline.stage import Context
    from bench.stages.chosen import Chosen


def build_reward_model(
    context: Context,
    out: Path,
    inputs: list[Path],
    granularity: Granularity,
    learns: Chosen,
    cut: Chosen | None = None,
    named: str = "",
) -> dict[str, Any]:
    """Train on the pairs, rankings or annotations of `inputs[1]`, normalise on samples.

    `learns` is the objective, `cut` the segmenter of a segment model, `named` what it is called
    where a run has several.

    Inputs: SFT, pairs or spans, samples.
    """
    config = context.config
    segments = SENTENCES if cut is None else Segments(cut.target, cut.options)
    spec = RewardSpec(granularity, import_target(learns.target)(**learns.options), segments)
    backbone = load_sft(context, inputs[0])
    rows = _rows(inputs[1], spec, config.preferences, backbone.tokens)
    settings = config.reward_model
    steps = settings.epochs * -(-len(rows) // settings.batch_size)
    name, curve = f"{named or granularity} reward model", context.curve()
    with context.progress.task(name, total=steps) as task:

        def on_step(row: dict[str, float]) -> None:
            curve.add(row)
            note = f"loss {row['loss']:.3f} accuracy {row['accuracy']:.2f}"
            task.reach(int(row["step"]), note=note)

        model, counts = train_reward_model(
            backbone,
            rows,
            spec,
            settings,
            config.lora,
            config.seed,
            on_step,
            Checkpoints(out, context.progress.say),
        )
    curve.write(out)
    for text in warnings(counts, f"reward_model.max_length = {settings.max_length}"):
        context.progress.say(f"{name}: {text}")
    samples = sft_samples(inputs[2], settings.normalisation_samples, backbone.tokens)
    kept = representative(samples, backbone.tokens)
    normalise(model, backbone.batch_of(kept))
    if granularity == "segment":
        model.places = fit_places(model, backbone.batch_of(kept))
    model.save(out, _weights(inputs[0]))
    backbone.drop_adapter(REWARD)
    return counts | {"normalised_on": len(kept)}


def _rows(folder: Path, spec: RewardSpec, config: PreferenceConfig, tokens: Tokens) -> list[Any]:
    """Annotated responses; else rankings, if the loss takes them, or pairs."""
    if marked := training_annotations(folder, config):
        return list(marked)
    rankings = training_rankings(folder, config)
    if rankings and spec.objective.ranks:
        return list(rankings)
    return list(training_pairs(folder, config, tokens))


def build_given_reward_model(context: Context, out: Path, inputs: list[Path]) -> dict[str, Any]:
    """Take the reward model that `reward_model.path` names, untrained, in the place of one's own.

    It is normalised on the samples of this run, as those that are trained here are.

    Inputs: SFT, samples.
    """
    config = context.config.reward_model
    path = str(config.path)
    backbone = load_sft(context, inputs[0])
    samples = sft_samples(inputs[1], config.normalisation_samples, backbone.tokens)
    kept = representative(samples, backbone.tokens)
    if Path(path, ADAPTER).is_dir():
        ours = RewardModel.load(backbone, REWARD, Path(path))
        normalise(ours, backbone.batch_of(kept))
        ours.save(out, _weights(inputs[0]))
        backbone.drop_adapter(REWARD)
    else:
        classifier = Classifier.read(path, backbone, context.suite.prompt_template)
        normalise(classifier, kept)
        classifier.save(out)
    return {"normalised_on": len(kept)}


def _weights(sft: Path) -> dict[str, str]:
    """Hashes of an SFT model's weights by file."""
    return {file.name: file_sha256(file) for file in sorted((sft / MODEL).glob("*.safetensors"))}


def representative(
    samples: list[tuple[str, list[int]]], tokens: Tokens
) -> list[tuple[str, list[int]]]:
    """The samples that ended, or all of them where fewer than half did.

    A sequence model reads R at the last token, and where few responses are cut off it has hardly
    learned to read at a token that is no end: a few wild scores would then set the scale of R for
    all others. Where most are cut off, it has, and those that ended are the exception.
    """
    finished = [sample for sample in samples if sample[1][-1] in tokens.eos_ids]
    return finished if 2 * len(finished) >= len(samples) else samples
