"""The reward model that `reward_model.path` names: what it is, and whether a run can use it.

All of it is found from small files and hashes when the run is planned: nothing is loaded.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import hub
from bench.errors import UserError
from bench.files import FileState
from bench.models.names import ADAPTER, CONSTANTS
from bench.stages.reading import Reads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.config.run import LoRAConfig, PPOConfig

_CLASSIFIER, _OURS = "sequence classifier", "reward model of GrainBench"
_ENDING = "ForSequenceClassification"  # of the architectures that the library reads as classifiers


@dataclass(frozen=True)
class GivenReward:
    """A reward model that was trained elsewhere.

    Attributes:
        path: as the configuration names it.
        kind: in words.
        granularity: what it scores: "sequence", "segment" or "token".
        reads: its content, or its commit on the hub.
        adapter: one of ours: the settings of its PEFT adapter.
        base: one of ours: hashes of the weights of the SFT model that it stands on, by file.
    """

    path: str
    kind: str
    granularity: str
    reads: Reads
    adapter: Mapping[str, Any]
    base: Mapping[str, str]

    def check(self, method: str, granularity: str, sft: str, weights: Mapping[str, str]) -> None:
        """Refuse what a method's reward model cannot be.

        Args:
            method: its name.
            granularity: what it needs scored.
            sft: key of the run's SFT stage.
            weights: where the SFT model is given too, hashes of its weights by file.

        Raises:
            UserError: it scores something else, or stands on another SFT model.
        """
        if self.granularity != granularity:
            raise UserError(
                f"reward_model.path={self.path} is a {self.granularity} reward model ({self.kind}),"
                f" and the method {method} needs one that scores each {granularity}: choose "
                "another method, or train one"
            )
        named = self.adapter.get("base_model_name_or_path")
        known = named == f"sft/{sft}/model" or (self.base and dict(self.base) == dict(weights))
        if self.kind == _OURS and not known:
            raise UserError(
                f"reward_model.path={self.path} stands on the SFT model {named}, and this run on "
                f"another, sft/{sft}/model: give that one as sft.path, from the store in which the "
                "reward model was made"
            )

    def check_value(self, config: PPOConfig, lora: LoRAConfig) -> None:
        """Refuse a value function that cannot start where the configuration says.

        It is not started elsewhere in silence: the record would say what was not so.

        Raises:
            UserError: it shall start from an adapter that is not there, or has another shape.
        """
        if config.value_model == "shared" or config.value_init == "zero":
            return
        shape = {name: self.adapter.get(name) for name in ("r", "lora_alpha")}
        if self.kind == _OURS and shape == {"r": lora.r, "lora_alpha": lora.alpha}:
            return
        why = "has no adapter on this run's base"
        if self.kind == _OURS:
            why = f"has an adapter with r={shape['r']}, alpha={shape['lora_alpha']}, not lora.*"
        raise UserError(
            f"ppo.value_init={config.value_init}: the value would start from the reward model, and "
            f"{self.path} ({self.kind}) {why}: set ppo.value_init=zero, which starts it from the "
            "policy's own trunk"
        )


def given_reward(path: str) -> GivenReward:
    """What a field names: a folder of ours, a classifier's folder, or ID@REVISION of the hub.

    Raises:
        UserError: it is neither, has several outputs, code of its own, or no safetensors.
    """
    repo, folder = hub.HubRepo.model(path), Path(path)
    if repo is not None:
        sha = hub.commit(repo)
        settings = _json(hub.fetched(repo, "config.json"))
        _check_classifier(path, settings, hub.files(repo))
        return GivenReward(
            path, _CLASSIFIER, "sequence", Reads({"hub": repo.name, "revision": sha}), {}, {}
        )
    ours = (folder / CONSTANTS).is_file()
    found = [f for f in sorted([*folder.glob("*"), *folder.glob(f"{ADAPTER}/*")]) if f.is_file()]
    files = {file: FileState.of(file) for file in found}
    names = {file: file.relative_to(folder).as_posix() for file in found}
    reads = Reads({names[file]: state.sha for file, state in files.items()}, files)
    if ours and (folder / ADAPTER).is_dir():
        constants = _json(folder / CONSTANTS)
        _check_weights(path, [name for name in names.values() if name.startswith(f"{ADAPTER}/")])
        adapter = _json(folder / ADAPTER / "adapter_config.json")
        base = constants.get("base", {})
        return GivenReward(path, _OURS, constants["granularity"], reads, adapter, base)
    if not (folder / "config.json").is_file():
        raise UserError(
            f"reward_model.path={path}: neither a reward_model folder of a store (with {CONSTANTS} "
            f"and {ADAPTER}/) nor a classifier of the transformers library (with config.json)"
        )
    _check_classifier(path, _json(folder / "config.json"), list(names.values()))
    return GivenReward(path, _CLASSIFIER, "sequence", reads, {}, {})


def _check_classifier(path: str, settings: dict[str, Any], files: list[str]) -> None:
    if "auto_map" in settings:
        raise UserError(
            f"reward_model.path={path} asks for code of its own repository (auto_map), which is "
            "never run: choose a classifier of an architecture that the transformers library has"
        )
    kinds = settings.get("architectures") or ["no architecture"]
    if not any(kind.endswith(_ENDING) for kind in kinds):
        raise UserError(
            f"reward_model.path={path} is {', '.join(kinds)} by its config.json, and not a "
            f"sequence classifier (...{_ENDING})"
        )
    # The library writes `id2label` where there are not two outputs, which is its default.
    outputs = settings.get("num_labels") or len(settings.get("id2label") or {}) or 2
    if outputs != 1:
        raise UserError(
            f"reward_model.path={path} is a classifier with {outputs} outputs: a reward is one "
            "number; choose a classifier with one output (num_labels=1)"
        )
    _check_weights(path, files)


def _check_weights(path: str, files: list[str]) -> None:
    mend = "save it again with safe_serialization"
    hub.check_safetensors(f"reward_model.path={path}", files, mend)


def _json(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {file}, of reward_model.path: {error}") from error
    return found
