"""The configuration of a run: frozen pydantic models; a field's description is its help text.

A preset (`bench/config/presets/*.yaml`) gives the values and their sources, `--set path=value`
overrides single ones, and the result is validated once, here. Every section is shared by all
methods but `reward`, which holds the chosen method's own options and is validated by that method;
`judge`, `editor` and `suite_options` likewise hold those of the chosen judge, editor and suite.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bench.config.section import Section

KLKind = Literal["k1", "k2", "k3", "k1_clamped"]
Schedule = Literal["constant", "linear", "cosine"]


class ModelConfig(Section):
    """The base model and where it runs."""

    path: str | None = Field(
        None,
        description="folder or hub id of the base, a GGUF file, package:NAME for the one in a "
        "Python package, or built:MODULE/NAME for what a command builds; null: the suite's own",
    )
    revision: str | None = Field(
        None, description="on the hub; the commit that it stands for is used and recorded"
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of the frozen base; auto: bfloat16 on a GPU, float32 on a CPU"
    )
    template: str = Field(
        "suite",
        pattern=r"^suite$|^chat$|\{prompt\}",
        description="how a prompt is put to the model; suite: by the suite's template; chat: by "
        "the tokenizer's own; else: by this text, in which {prompt} stands for the prompt",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="the backward computes layers again instead of keeping them: a third more "
        "time, a fraction of the memory, the same numbers",
    )
    cuda_graphs: bool = Field(
        False,
        description="decode a token as one CUDA graph, where the model keeps all keys and values; "
        "the numbers of the plain loop but for rounding",
    )
    shard: bool = Field(
        False,
        description="of several processes each holds a share of the base's layers (FSDP2), for a "
        "base that does not fit on one GPU; the same numbers but for rounding",
    )
    decode_batch_size: int | None = Field(
        None,
        ge=1,
        description="responses decoded at once outside of PPO's rollouts; decides no draw; "
        "null: 128",
    )
    prompt_max_tokens: int | None = Field(
        None,
        ge=1,
        description="longer prompts lose their end, template aside, and are counted; null: one "
        "that does not fit the model's context beside its response is an error",
    )


class LoRAConfig(Section):
    """The adapters that reward model, policy and value are trained in (arXiv:2106.09685)."""

    r: int = Field(16, ge=1, description="rank")
    alpha: int = Field(32, ge=1, description="scale numerator: the update is alpha / r * B A")
    target_modules: Literal["all-linear"] | list[str] = Field(
        "all-linear",
        description="linear layers that carry adapters, by name; no embedding, no head tied to it",
    )


class SFTConfig(Section):
    """Supervised fine-tuning on demonstrations; its result is the base of everything after."""

    later: ClassVar = frozenset({"path", "epochs", "lr_schedule", "warmup"})
    path: str | None = Field(
        None,
        description="a causal language model that takes the place of what SFT makes, so that none "
        "is trained: folder or hub id, ID@REVISION for a branch, tag or commit; null: SFT trains",
    )
    demonstrations: int = Field(4000, ge=1, description="how many, drawn with `seed`")
    steps: int | None = Field(
        150, ge=0, description="optimiser steps; 0: the base is used as it is; null: see epochs"
    )
    epochs: int | None = Field(
        None, ge=1, description="passes over the demonstrations; null: see steps"
    )
    batch_size: int = Field(64, ge=1, description="demonstrations a step")
    microbatch_size: int | None = Field(
        None, ge=1, description="demonstrations a forward pass (gradients add up); null: all"
    )
    lr: float = Field(1e-3, gt=0, description="peak learning rate (AdamW)")
    lr_schedule: Schedule = Field("linear", description="of the rate after its peak, down to 0")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps with rising rate")
    seed: int | None = Field(
        None, description="its own seed, so that one SFT model serves all runs; null: the run's"
    )
    max_length: int = Field(
        256, ge=8, description="prompt + response tokens; longer demonstrations are left out"
    )
    full: bool = Field(
        True, description="train all weights; false: a LoRA adapter, merged into them afterwards"
    )

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        """Two budgets would contradict each other, and none is no end."""
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(
                "give one of steps and epochs, and null for the other "
                f"(given: steps {self.steps}, epochs {self.epochs})"
            )
        return self


class PreferenceConfig(Section):
    """Response pairs: sampled and annotated, or a suite's own."""

    renamed: ClassVar = {
        "editor": "edits.source",
        "miss": "edits.miss",
        "max_missing": "edits.max_missing",
    }
    source: Literal["auto", "sampled", "files"] = Field(
        "auto",
        description="sampled: two responses of the SFT model, between which the suite's annotator "
        "chooses; files: the suite's own pairs; auto: files where it has any",
    )
    pairs: int = Field(6000, ge=1, description="training pairs")
    held_out: int = Field(400, ge=2, description="pairs kept back to measure the reward model")
    responses: int = Field(
        2, ge=2, description="sampled to each prompt; more than 2 are ranked, the first 2 a pair"
    )
    temperature: float = Field(1.0, gt=0, description="of the SFT model's samples")
    max_new_tokens: int = Field(80, ge=1, description="response tokens at most, EOS included")
    flip: float = Field(0.1, ge=0, le=0.5, description="share of labels that are wrong (noise)")


OWN_EDITS = ("auto", "suite", "files")


class EditConfig(Section):
    """Minimal edits of the less preferred responses."""

    source: str = Field(
        "auto",
        description="files: the suite's own edits of its pairs; suite: its program edits; else the "
        "registry name of an editor; auto: files where it has any, else suite",
    )
    max_missing: float = Field(
        0.02, ge=0, le=1, description="share of responses that may be without an edit"
    )
    miss: float = Field(
        0.1, ge=0, le=1, description="share of errors that the suite's program overlooks"
    )
    max_changed: float | None = Field(
        None,
        gt=0,
        le=1,
        description="largest share of words and marks that an edit may change; a response with a "
        "larger one stays as it was and is counted; null: no limit",
    )
    always_allowed: int = Field(
        4, ge=0, description="changed words and marks that are allowed in the shortest response too"
    )

    @property
    def editor(self) -> str | None:
        """Registry name of who edits; None: the suite, by its program or with edits it has."""
        return None if self.source in OWN_EDITS else self.source


class RewardModelConfig(Section):
    """Training of the reward model, whatever its granularity."""

    later: ClassVar = frozenset({"path", "lr_schedule"})
    path: str | None = Field(
        None,
        description="a reward model that is taken instead of training one: the folder of one that "
        "a run made here, or a sequence classifier with one output: folder or hub id (ID@REVISION)",
    )
    epochs: int = Field(2, ge=1, description="passes over the pairs")
    batch_size: int = Field(16, ge=1, description="pairs, or rankings, a step")
    microbatch_size: int | None = Field(
        None, ge=1, description="pairs, or rankings, a forward pass (gradients add up); null: all"
    )
    lr: float = Field(2e-3, gt=0, description="peak learning rate (AdamW)")
    lr_schedule: Schedule = Field("linear", description="of the rate after its peak, down to 0")
    head_scale: float = Field(
        10.0, gt=0, description="factor on the head's output, std 1/sqrt(d+1) at initialisation"
    )
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps with rising rate")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    margin: float = Field(
        0.0, ge=0, description="by how much chosen must win, times the pair's own margin if it has"
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="share of the labels that are taken to be wrong"
    )
    max_length: int = Field(
        512, ge=8, description="prompt + response tokens; longer responses are cut"
    )
    normalisation_samples: int = Field(
        512, ge=2, description="SFT samples that fix the output's mean 0 and std 1"
    )


class PPOConfig(Section):
    """PPO with a reward at every token (arXiv:1707.06347; arXiv:2203.02155)."""

    later: ClassVar = frozenset(
        {"prompt_max_tokens", "warmup_steps", "lr_schedule_steps", "engine"}
    )
    operational: ClassVar = frozenset({"engine_url", "engine_folder"})
    steps: int = Field(60, ge=0, description="policy steps")
    value_warmup_steps: int = Field(4, ge=0, description="value-only steps before them")
    batch_size: int = Field(64, ge=1, description="prompts a step, one response each")
    rollout_batch_size: int | None = Field(
        None,
        ge=1,
        description="responses decoded at once; decides no draw; null: all",
    )
    minibatch_size: int = Field(16, ge=1, description="responses an optimiser step")
    minibatch_tokens: int | None = Field(
        None, ge=1, description="response tokens an optimiser step at most, instead of responses"
    )
    microbatch_size: int | None = Field(
        None, ge=1, description="responses a forward pass (gradients add up); null: the minibatch"
    )
    epochs: int = Field(1, ge=1, description="passes over a step's responses")
    prompts: int = Field(1800, ge=1, description="distinct prompts that are cycled through")
    prompt_max_tokens: int | None = Field(
        None,
        ge=1,
        description="prompts with more tokens, template included, are left out; null: no limit",
    )
    lr: float = Field(8e-4, gt=0, description="policy learning rate (AdamW)")
    value_lr: float = Field(1e-3, gt=0, description="value learning rate (AdamW)")
    lr_schedule: Schedule = Field("constant", description="of both rates over the steps, down to 0")
    lr_schedule_steps: int | None = Field(
        None, ge=1, description="step at which the schedule ends, be it behind the last; null: it"
    )
    warmup_steps: int = Field(0, ge=0, description="first steps, over which both rates rise")
    adam_eps: float = Field(1e-8, gt=0, description="AdamW's epsilon")
    adam_beta2: float = Field(0.98, gt=0, lt=1, description="AdamW's beta 2")
    clip_range: float = Field(0.2, gt=0, description="of the probability ratio")
    value_clip_range: float | None = Field(
        0.2, gt=0, description="of the value's move; null: not clipped"
    )
    value_model: Literal["separate", "shared"] = Field(
        "separate", description="an adapter of its own, or a head on the policy's hidden states"
    )
    value_init: Literal["reward_model", "reward_trunk", "zero"] = Field(
        "reward_trunk",
        description="adapter and head of the reward model, its adapter alone, or neither",
    )
    value_coef: float = Field(1.0, gt=0, description="factor on the value loss")
    gamma: float = Field(1.0, ge=0, le=1, description="discount")
    gae_lambda: float = Field(0.95, ge=0, le=1, description="of the advantage estimate")
    whiten_advantages: bool = Field(True, description="to mean 0, variance 1 over the batch")
    whiten_rewards: Literal["no", "scale", "shift"] = Field(
        "no", description="scale: to variance 1, the mean kept; shift: to mean 0 as well"
    )
    whiten_unbiased: bool = Field(False, description="variance over n - 1 instead of n")
    count_padding: bool = Field(
        False, description="padding (as zeros) counts in whitening and in the losses' means"
    )
    temperature: float = Field(1.0, gt=0, description="of the rollouts")
    max_new_tokens: int = Field(80, ge=1, description="response tokens at most, EOS included")
    rollout_logprobs: Literal["auto", "generation", "forward"] = Field(
        "auto",
        description="old log-probabilities: kept from generation or a second pass; "
        "auto: kept in float32",
    )
    merge_rollouts: bool | None = Field(
        None,
        description="add the adapter into the weights while generating, for a copy of those that "
        "carry one; null: in float32",
    )
    engine: Literal["ours", "vllm"] = Field(
        "ours", description="who draws the rollouts: our decode loop, or a vLLM server"
    )
    engine_url: str | None = Field(
        None,
        pattern="^https?://",
        description="where the vLLM server listens, as http://127.0.0.1:8000; decides no number",
    )
    engine_folder: str | None = Field(
        None,
        description="folder in which the vLLM server finds the policy's adapter, by the same path "
        "as here; null: a temporary one; decides no number",
    )
    score_position: Literal["last", "eos", "first_pad"] = Field(
        "last",
        description="where the last token's score is paid: there, there if it is EOS, or one later",
    )
    missing_eos_penalty: float = Field(
        1.0, ge=0, description="price of a response that did not end"
    )
    missing_eos: Literal["subtract", "replace"] = Field(
        "replace",
        description="the penalty comes off the last token's score, or stands instead of all scores",
    )
    kl_kind: KLKind = Field("k1", description="estimator of the per-token KL penalty")
    kl_penalty: Literal["reward", "loss"] = Field(
        "reward", description="the KL is taken off the reward, or added to the policy loss"
    )
    kl_coef: float = Field(0.25, ge=0, description="the KL coefficient at the start")
    kl_target: float = Field(4.0, gt=0, description="nats a sequence that the controller aims at")
    kl_rate: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="rise of the coefficient a step, for each 100 % over the target; 0: fixed",
    )
    kl_fall: float = Field(0.05, ge=0, lt=1, description="its fall a step, likewise")
    kl_error_clip: float = Field(
        1.0, gt=0, le=1, description="most of (KL / target - 1) that counts, either way"
    )
    stop_kl: float | None = Field(
        None, gt=0, description="nats a token from the old policy at which a step's updates end"
    )
    ptx_coef: float = Field(
        0.0, ge=0, description="gamma of PPO-ptx: weight of the demonstrations' log-likelihood"
    )
    ptx_batch_size: int = Field(8, ge=1, description="demonstrations an optimiser step")
    max_grad_norm: float | None = Field(
        1.0, gt=0, description="gradients are clipped to this norm; null: they are not"
    )
    eval_every: int = Field(10, ge=1, description="steps between validations")

    @model_validator(mode="after")
    def _an_engine_that_can_be_asked(self) -> Self:
        """A server has an address, and its log-probabilities are never the old ones of PPO."""
        if self.engine == "vllm" and self.engine_url is None:
            raise ValueError("engine=vllm needs engine_url, as http://127.0.0.1:8000")
        if self.engine == "vllm" and self.rollout_logprobs == "generation":
            raise ValueError(
                "rollout_logprobs=generation cannot go with engine=vllm, whose log-probabilities "
                "are another program's: set it to auto or forward"
            )
        return self


class OfflineConfig(Section):
    """Training the policy on pairs, edits or rankings without a rollout: DPO and its kin."""

    epochs: int = Field(1, ge=1, description="passes over the pairs")
    batch_size: int = Field(32, ge=1, description="pairs, or rankings, a step")
    microbatch_size: int | None = Field(
        None, ge=1, description="pairs, or rankings, a forward pass (gradients add up); null: all"
    )
    lr: float = Field(8e-4, gt=0, description="peak learning rate (AdamW)")
    lr_schedule: Schedule = Field("linear", description="of the rate after its peak, down to 0")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps with rising rate")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    max_length: int = Field(
        512, ge=8, description="prompt + response tokens; longer responses are cut"
    )
    eval_every: int = Field(10, ge=1, description="steps between validations")


class EvaluationConfig(Section):
    """Generation and judging of the final policy."""

    judge: str = Field("gold", description="registry name; its own options: judge.*")
    validation: Literal["judge", "heldout_rm", "last"] = Field(
        "judge",
        description="what chooses the checkpoint, on validation_prompts: validation_judge, or a "
        "reward model of other pairs than the methods' own; last: nothing, the last step is kept",
    )
    heldout_pairs: int = Field(
        0,
        ge=0,
        description="pairs set aside for a reward model that no method learns from: for "
        "validation=heldout_rm and the judge reward_model",
    )
    max_kl: float | None = Field(
        10.0,
        gt=0,
        description="nats a response from the SFT model beyond which heldout_rm chooses no "
        "checkpoint; null: no limit",
    )
    matched_kl: float | None = Field(
        2.0,
        gt=0,
        description="nats a response from the SFT model at which a second checkpoint is kept and "
        "judged, so that methods are compared as far from it as each other; null: none",
    )
    validation_judge: str = Field(
        "gold", description="judge of the validations: asked at every one, so free of cost"
    )
    max_missing: float = Field(
        0.02, ge=0, le=1, description="share of the instructions that may be without a verdict"
    )
    validation_prompts: int = Field(
        128, ge=0, description="choose the checkpoint; 0: none, where validation is last"
    )
    test_prompts: int = Field(256, ge=2, description="the instructions of the win rate")
    unseen_prompts: int = Field(
        128,
        ge=0,
        description="of the suite's split of prompts unlike any that is trained on; 0: none",
    )
    samples: int = Field(2, ge=1, description="sampled responses an instruction")
    greedy: bool = Field(True, description="whether a greedy response an instruction is judged too")
    temperature: float = Field(0.7, gt=0, description="of the sampled responses (AlpacaFarm: .7)")
    max_new_tokens: int = Field(80, ge=1, description="response tokens at most, EOS included")
    seed: int = Field(0, description="of the sampled responses, together with the run's seed")
    probes: int = Field(100, ge=2, description="planted errors of each type for the reward model")


class RunConfig(Section):
    """Everything that determines a run's numbers, apart from code, packages and hardware.

    Attributes:
        of_some: sections that a stage of the same name reads, and so some methods alone. They came
            after results were published; in a run without the stage they say nothing.
    """

    of_some: ClassVar = frozenset({"offline"})
    preset: str = Field("testbed", description="where the values came from")
    suite: str = Field("testbed", description="registry name")
    method: str = Field("token_ppo", description="registry name")
    seed: int = Field(0, ge=0, description="source of every random choice of the run")
    model: ModelConfig = ModelConfig()
    lora: LoRAConfig = LoRAConfig()
    sft: SFTConfig = SFTConfig()
    preferences: PreferenceConfig = PreferenceConfig()
    edits: EditConfig = EditConfig()
    reward_model: RewardModelConfig = RewardModelConfig()
    ppo: PPOConfig = PPOConfig()
    offline: OfflineConfig = OfflineConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    reward: dict[str, Any] = Field({}, description="the method's own options")
    judge: dict[str, Any] = Field({}, description="the judge's own options")
    editor: dict[str, Any] = Field({}, description="the editor's own options")
    suite_options: dict[str, Any] = Field({}, description="the suite's own options")

    @property
    def seeded_sft(self) -> SFTConfig:
        """The section `sft` with the seed that it has in this run."""
        seed = self.seed if self.sft.seed is None else self.sft.seed
        return self.sft.model_copy(update={"seed": seed})


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted keys: {"ppo": {"lr": 1e-4}} is {"ppo.lr": 1e-4}."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
