"""Several processes: the same losses, weights and texts as one."""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import debug_launcher

from bench.config.run import OfflineConfig, PPOConfig, RewardModelConfig, SFTConfig
from bench.data import Demonstration, Preference
from bench.errors import Diverged, UserError
from bench.models import processes
from bench.models.fast.sharding import gathered, is_share, shared
from bench.models.names import POLICY, SFT
from bench.models.rollout import Sampling, sample
from bench.training.checkpoints import Checkpoints
from bench.training.comparisons import tokenise
from bench.training.offline import Offline
from bench.training.offline_losses import FIGA, TDPO
from bench.training.ppo import PPO, new_value
from bench.training.reward_model import RewardSpec, preference_accuracy, train_reward_model
from bench.training.sft import train_sft
from tests.tiny import LORA, random_batch, random_rows, stop_often, tiny_backbone

WORDS = ["red", "blue", "green", "old", "new", "warm", "cold", "near", "far"]
SHOWN = [Demonstration(prompt=f"{w}?", response=f"{w}, {w} is it." * 2) for w in WORDS]
PAIRS = [Preference(prompt=f"{w}?", chosen=f"{w} it is.", rejected="No.") for w in WORDS]
PPO_OPTIONS = PPOConfig(
    steps=2,
    eval_every=1,
    value_warmup_steps=1,
    batch_size=8,
    minibatch_size=8,
    max_new_tokens=10,
    ptx_coef=0.1,
    ptx_batch_size=3,
    whiten_rewards="shift",
    stop_kl=1.0,
)


def train(
    microbatch: int | None,
    value_model: str,
    state: dict[str, Any] | None = None,
    shares: bool = False,
) -> dict[str, Any]:
    """A few steps of everything, PPO's from a state on; what came out.

    With `shares` on a base of which each process has a part, from where the whole one has come.
    """
    found: dict[str, Any] = {"losses": [], "processes": processes.count()}
    backbone = tiny_backbone()
    sft = SFTConfig(steps=2, batch_size=8, full=False, microbatch_size=microbatch)
    train_sft(backbone, SHOWN, sft, LORA, lambda row: found["losses"].append(row["loss"]))
    found["sft"] = [p.detach().clone() for p in backbone.parameters(SFT)]
    backbone.merge_adapter(SFT)
    if shares:
        shared(backbone.model, torch.device("cpu"))
        processes.keep_in_step()

    options = RewardModelConfig(epochs=1, batch_size=8, microbatch_size=microbatch)
    model, _ = train_reward_model(
        backbone,
        PAIRS,
        RewardSpec("token"),
        options,
        LORA,
        0,
        lambda row: found["losses"].extend([row["loss"], row["accuracy"]]),
    )
    found["reward"] = [p.detach().clone() for p in backbone.parameters("reward")]
    found["accuracy"] = preference_accuracy(model, PAIRS)

    stop_often(backbone)
    config = PPO_OPTIONS.model_copy(
        update={"microbatch_size": microbatch, "value_model": value_model}
    )
    value = new_value(backbone, LORA, model, 0, config)
    pay = lambda rollout: model.paid(rollout.batch)
    shown = list(zip(*random_rows(4), strict=True))
    ppo = PPO(backbone, [row.prompt for row in SHOWN], pay, value, config, LORA, 0, shown)
    rows: list[dict[str, float]] = []
    states: list[dict[str, Any]] = []
    if state is not None:
        ppo.restore(state)
    ppo.run(dict, rows.append, lambda state: states.append(deepcopy(state)))
    found |= {"rows": rows[-1], "state": states[0]}
    found["policy"] = [p.detach().clone() for p in backbone.parameters(POLICY)]
    found["value"] = [p.detach().clone() for p in ppo.learner.value_parameters]
    found["offline"] = []
    for loss in (TDPO(0.1, 0.5), FIGA(1.0, 0.5, 0.6)):
        given, _ = tokenise(backbone.tokens, PAIRS, 64)
        budget = OfflineConfig(batch_size=8, microbatch_size=microbatch)
        made = Offline(backbone, given, loss, budget, LORA, 0)
        made.run(dict, lambda row: found["losses"].append(row.get("loss", 0.0)))
        found["offline"] += [p.detach().clone() for p in made.parameters]
    prompts = [backbone.tokens.prompt(row.prompt) for row in SHOWN]
    found["texts"] = sample(backbone, POLICY, prompts, Sampling(8), torch.Generator())
    return found


def work(out: str, microbatch: int | None, value_model: str, shares: bool) -> None:
    torch.set_num_threads(1)
    processes.join()
    found = train(microbatch, value_model, shares=shares)
    torch.save(found, Path(out) / f"{processes._here.rank}.pt")


def by_several(
    folder: Path, count: int, microbatch: int | None, value_model: str, shares: bool = False
) -> list[dict[str, Any]]:
    folder.mkdir()
    debug_launcher(work, (str(folder), microbatch, value_model, shares), num_processes=count)
    return [torch.load(folder / f"{rank}.pt") for rank in range(count)]


def same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """All but a checkpoint's own and who made it, to float tolerance."""
    names = wanted.keys() - {"state", "processes"}
    for name in names:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("value_model", ["separate", "shared"])
def test_the_result_does_not_depend_on_the_number_of_processes(
    tmp_path: Path, value_model: str
) -> None:
    """One process with the whole batch, one with micro-batches, two, four, two of parts."""
    whole = train(None, value_model)
    same(train(2, value_model), whole)
    for count, microbatch, shares in ((2, 3, True), (2, None, False), (4, 2, False)):
        folder = tmp_path / f"{count}-{shares}"
        found = by_several(folder, count, microbatch, value_model, shares)
        assert found[0]["processes"] == count
        same(found[0], whole)
        # Between the processes of a run it is the same to the bit: any of them may write it.
        for other in found[1:]:
            torch.testing.assert_close(other, found[0], rtol=0, atol=0)
    # One process goes on from a checkpoint of four.
    same(train(None, value_model, found[0]["state"]), whole)


def fine_tune(folder: Path, microbatch: int | None, steps: int) -> dict[str, Any]:
    """All weights, the last steps from a checkpoint in `folder` if there is one."""
    backbone = tiny_backbone()
    if processes.count() > 1:
        shared(backbone.model, torch.device("cpu"), trains=True)
        processes.keep_in_step()
        backbone.hidden(random_batch(backbone), None)  # lets go of what it gathers
        assert all(is_share(p) for p in backbone.model.model.layers.parameters())
    losses: list[float] = []
    config = SFTConfig(steps=3, batch_size=8, full=True, microbatch_size=microbatch, lr=1e-3)
    checkpoints = Checkpoints(folder, print)
    checkpoints._pause = 0.0  # one after every step
    before = (checkpoints.read() or {"done": 0})["done"]

    def note(row: dict[str, float]) -> None:
        losses.append(row["loss"])
        if row["step"] == steps:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        train_sft(backbone, SHOWN, config, LORA, note, checkpoints)
    return {"losses": losses, "before": before, "weights": gathered(backbone.model)}


def fine_tune_by_several(folder: str, microbatch: int | None, steps: int) -> None:
    processes.join()
    found = fine_tune(Path(folder), microbatch, steps)
    torch.save(found, Path(folder) / f"{processes.rank()}.pt")


@pytest.mark.slow
@pytest.mark.parametrize("microbatch", [None, 3])
def test_all_weights_are_trained_on_shares_as_on_the_whole(
    tmp_path: Path, microbatch: int | None
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    whole = fine_tune(tmp_path / "one", microbatch, steps=0)
    debug_launcher(fine_tune_by_several, (str(tmp_path / "two"), microbatch, 0), num_processes=2)
    found = [torch.load(tmp_path / "two" / f"{rank}.pt") for rank in range(2)]
    start = dict(tiny_backbone().model.named_parameters())
    assert all((w - start[name]).abs().max() > 0 for name, w in whole["weights"].items())
    same(found[0], whole)
    assert found[1] == {"losses": found[0]["losses"], "before": 0, "weights": {}}


@pytest.mark.slow
@pytest.mark.parametrize("first", [1, 2])
def test_full_fine_tuning_goes_on_with_another_number_of_processes(
    tmp_path: Path, first: int
) -> None:
    (tmp_path / "whole").mkdir()
    whole = fine_tune(tmp_path / "whole", None, steps=0)
    last: dict[str, Any] = {}
    for count, steps in ((first, 2), (3 - first, 0)):
        if count == 1:
            last = fine_tune(tmp_path, None, steps)
        else:
            debug_launcher(fine_tune_by_several, (str(tmp_path), None, steps), num_processes=2)
            last = torch.load(tmp_path / "0.pt")
    assert last["before"] > 0  # it did not begin anew
    assert last["losses"] == pytest.approx(whole["losses"], rel=1e-5)
    same(last["weights"], whole["weights"])


def share(out: str) -> None:
    processes.join()
    rank = processes._here.rank
    found: dict[str, Any] = {
        "doubled": processes.share_out(range(5), lambda own: [2 * x for x in own])
    }
    found["first"] = processes.from_first(lambda: ("from", rank, processes.count()))
    found["after"] = processes.after_first(lambda: rank)
    parameter = torch.nn.Parameter(torch.zeros(2))
    if rank == 0:  # the other one had no part of this batch
        parameter.grad = torch.tensor([1.0, 2.0])
    processes.sum_gradients([parameter])
    found["gradient"] = parameter.grad
    try:
        processes.share_out(range(5), refuse)
    except Diverged as error:
        found["error"] = str(error), processes.is_told(error)
    try:
        processes.from_first(lambda: refuse([3]))
    except Diverged as error:
        found["first's"] = str(error), processes.is_told(error)
    torch.save(found, Path(out) / f"{rank}.pt")


def refuse(own: list[int]) -> list[int]:
    if 3 in own:
        raise Diverged("three")
    return own


def test_what_is_shared_out_is_put_together_and_errors_are_everybodys(tmp_path: Path) -> None:
    debug_launcher(share, (str(tmp_path),), num_processes=2)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found["doubled"] == [0, 2, 4, 6, 8]
        assert found["first"] == ("from", 0, 1)  # and alone at it
        assert found["after"] == rank
        assert found["gradient"].tolist() == [1.0, 2.0]
        assert found["error"] == found["first's"] == ("three", rank > 0)


def lose_one(out: str) -> None:
    processes.join()
    if not processes.is_first():
        return  # as one that died: its connections close
    try:
        processes.from_first(lambda: 0)
    except UserError as error:
        (Path(out) / "said").write_text(str(error))


def test_a_process_that_ended_is_one_line(tmp_path: Path) -> None:
    debug_launcher(lose_one, (str(tmp_path),), num_processes=2)
    assert "another process of this run has ended" in (tmp_path / "said").read_text()
