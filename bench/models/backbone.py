"""One frozen base model in memory; everything that is trained is a named LoRA adapter on it.

The reference policy is the base with all adapters off, so it costs no memory and cannot drift.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel
from torch import Tensor

from bench.errors import UserError
from bench.models import processes
from bench.models.adapters import adapter_parameters, attach
from bench.models.context import context_length
from bench.models.devices import pick_device, pick_dtype
from bench.models.fast.checkpointing import layers_of, recomputed
from bench.models.fast.graphs import has_fixed_cache
from bench.models.fast.logits import in_chunks, logits_of
from bench.models.fast.lora import fuse_lora
from bench.models.fast.narrowing import last_mlp_at
from bench.models.fast.sharding import load_shared
from bench.models.layout import Layout, Padded, choose
from bench.models.loading import load_model, load_tokenizer
from bench.models.sequences import Sequences, cut
from bench.models.stateful import check_decoding
from bench.models.tokens import Tokens
from bench.rl import entropy, forward_kl, token_logprobs

if TYPE_CHECKING:
    from bench.config.run import LoRAConfig, ModelConfig


def chosen_logprobs(logits: Tensor, tokens: Tensor) -> Tensor:
    """(n,) log-probabilities of n tokens by their logits (n, V)."""
    return token_logprobs(logits[None], tokens[None])[0]


class Backbone:
    """A causal language model with named LoRA adapters.

    Attributes:
        model: the PEFT model once an adapter was added, before that the bare base.
        tokens: its tokenizer.
        device: where it lives.
        lay_out: how a batch goes through the model (`bench.models.layout`), in the precision that
            it has when this is made.
        vocabulary: V, the ids that may be drawn; logits beyond, of a vocabulary that was padded
            to a round size, stand for no token and get no probability anywhere.
        recomputes: whether the backward computes the layers once more instead of keeping what they
            computed (`bench.models.fast.checkpointing`).
        graphs: whether decoding has fixed shapes and replays CUDA graphs
            (`bench.models.fast.graphs`); on a CPU, which has none, the shapes alone.
        context: positions that a sequence may have; None: no limit.
    """

    def __init__(
        self, model: Any, tokens: Tokens, device: torch.device, *, trains: bool = False
    ) -> None:
        self.model = model.to(device).eval().requires_grad_(trains)
        self.tokens = tokens
        self.device = device
        self.lay_out = choose(self.model)  # adapters leave the attention as it is
        self.recomputes = False
        self.graphs = False
        self.context = context_length(self.model.config)
        self.vocabulary = min(tokens.size, self.model.get_output_embeddings().weight.shape[0])

    @classmethod
    def load(
        cls, path: str, config: ModelConfig, template: str, *, trains: bool = False
    ) -> Backbone:
        """Load base and tokenizer from a folder or the hub.

        Args:
            path: of the base.
            config: precision, device and the rest.
            template: the suite's.
            trains: whether the base itself is trained: in float32, whatever `config` says, since
                in bfloat16 a small learning rate is rounded away.

        Raises:
            UserError: if they cannot be loaded, or not be sampled from; says from where.
        """
        device = pick_device(config.device)
        dtype = pick_dtype(config.dtype, device)
        tokenizer = load_tokenizer(path, config)

        def load() -> Any:
            model = load_model(path, config, dtype)
            return model.float() if trains else model

        shares = config.shard and processes.count() > 1
        model = load_shared(load, device, trains=trains) if shares else load()
        tokens = Tokens.chosen(tokenizer, config, template, eos_ids(model))
        backbone = cls(model, tokens, device, trains=trains)
        check_decoding(backbone.model)
        backbone.recomputes = config.gradient_checkpointing
        can = device.type == "cuda" and has_fixed_cache(model.config) and not shares
        backbone.graphs = config.cuda_graphs and can
        if backbone.recomputes and not layers_of(decoder_of(model)):
            raise UserError(
                f"model.gradient_checkpointing: {type(model).__name__} has no list of layers that "
                "could be computed again; set it to false and lower the microbatch_size fields"
            )
        return backbone

    @property
    def packs(self) -> bool:
        """Whether batches go through without padding."""
        return self.lay_out is not Padded

    @property
    def hidden_size(self) -> int:
        """Width d of the hidden states that the LM head reads."""
        return int(self.model.get_output_embeddings().weight.shape[1])

    def add_adapter(
        self, name: str, lora: LoRAConfig | None = None, folder: Path | None = None
    ) -> None:
        """Add adapter `name`: new, its output 0 (`lora`), or read from a PEFT `folder`.

        Raises:
            UserError: `lora` names layers that the model lacks or that cannot be trained.
        """
        self.drop_adapter(name)
        if folder is not None and isinstance(self.model, PeftModel):
            self.model.load_adapter(str(folder), adapter_name=name)
        elif folder is not None:
            self.model = PeftModel.from_pretrained(self.model, str(folder), adapter_name=name)
        elif lora is not None:
            self.model = attach(self.model, name, lora)
        else:
            raise TypeError("add_adapter takes lora or folder")
        fuse_lora(self.model)  # the new layers too: fewer passes over memory than PEFT's own
        self.model.eval()

    @property
    def adapters(self) -> set[str]:
        """Names of the adapters that it carries."""
        return set(self.model.peft_config) if isinstance(self.model, PeftModel) else set()

    def drop_adapter(self, name: str) -> None:
        """Remove adapter `name` if it is there."""
        if name in self.adapters:
            if len(self.model.peft_config) == 1:  # a PEFT model cannot be without one
                self.model = self.model.unload()
            else:
                self.model.delete_adapter(name)

    def merge_adapter(self, name: str) -> None:
        """Add adapter `name` into the base for good; other adapters are dropped."""
        merged = self.model.merge_and_unload(adapter_names=[name])
        self.model = merged.requires_grad_(False).eval()

    def copy_adapter(self, source: str, target: str) -> None:
        """Give adapter `target` the weights of `source`; both exist and have one shape."""
        with torch.no_grad():
            for old, new in zip(self.parameters(source), self.parameters(target), strict=True):
                new.copy_(old)

    def save_adapter(self, name: str, folder: Path) -> None:
        """Write adapter `name` as a plain PEFT folder."""
        self.model.save_pretrained(str(folder), selected_adapters=[name])
        inner = folder / name  # PEFT puts every adapter not called "default" one level down
        for file in inner.iterdir():
            file.replace(folder / file.name)
        inner.rmdir()

    def parameters(self, name: str) -> list[torch.nn.Parameter]:
        """The weights of adapter `name`."""
        return adapter_parameters(self.model, name)

    @contextmanager
    def using(self, adapter: str | None) -> Iterator[Any]:
        """The model with `adapter` active; None is the reference, all adapters off."""
        if not isinstance(self.model, PeftModel):
            if adapter is not None:
                raise KeyError(f"no adapter named {adapter}")
            yield self.model
        elif adapter is None:
            with self.model.disable_adapter():
                yield self.model
        else:
            if self.model.active_adapters != [adapter]:  # a walk over all modules, so not idly
                self.model.set_adapter(adapter)
            yield self.model

    @contextmanager
    def merged(self, adapter: str) -> Iterator[Any]:
        """The model with `adapter` added into its weights while this lasts, for generation.

        Costs a copy of the weights that carry adapters, and saves every token the low-rank
        products. The base's own tensors come back untouched.
        """
        layers = [m for m in self.model.modules() if adapter in getattr(m, "lora_A", ())]
        # Fused experts are parameters of one module, wrapped one in the other; PEFT names each.
        places = [(m.get_base_layer(), getattr(m, "parameter_name", "weight")) for m in layers]
        originals = [getattr(module, name) for module, name in places]
        try:
            with torch.no_grad(), self.using(None) as model:
                for layer, (module, name), weight in zip(layers, places, originals, strict=True):
                    # another parameter, not other data: tied weights stay what they are elsewhere
                    merged = (weight + layer.get_delta_weight(adapter)).to(weight.dtype)
                    setattr(module, name, torch.nn.Parameter(merged, requires_grad=False))
                yield model
        finally:
            for (module, name), weight in zip(places, originals, strict=True):
                setattr(module, name, weight)

    def logits(self, batch: Sequences, adapter: str | None) -> Tensor:
        """(B, T, V): the distribution that each response token was drawn from; padded."""
        self._check_context(batch)
        with self.using(adapter) as model:
            layout = Padded(batch, batch.mask)
            output = model(**layout.inputs, logits_to_keep=batch.mask.shape[1] + 1)
        return output.logits[:, :-1, : self.vocabulary]

    def logprobs(self, batch: Sequences, adapter: str | None, temperature: float = 1.0) -> Tensor:
        """(B, T) float32 log-probabilities of the response tokens; 0 at padding."""
        return self._read(batch, adapter, temperature, hidden=False)[0]

    @torch.no_grad()
    def entropies(self, batch: Sequences, adapter: str | None) -> Tensor:
        """(B, T) nats of the distributions that the response tokens were drawn from; 0 at padding.

        At temperature 1, without gradient.
        """

        def entropies_of(logits: Tensor, tokens: Tensor) -> Tensor:
            return entropy(logits[None])[0]

        return self._read(batch, adapter, 1.0, hidden=False, of_logits=entropies_of)[0]

    def logprobs_and_hidden(
        self, batch: Sequences, adapter: str | None, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """`logprobs` (B, T) and `hidden` (B, T + 1, d) in one pass."""
        logprobs, states = self._read(batch, adapter, temperature, hidden=True)
        return logprobs, states

    def _read(
        self,
        batch: Sequences,
        adapter: str | None,
        temperature: float,
        *,
        hidden: bool,
        of_logits: Callable[[Tensor, Tensor], Tensor] = chosen_logprobs,
    ) -> tuple[Tensor, Tensor]:
        """What `of_logits` says of each drawn token (its log-probability), and hidden states.

        The head sees response tokens only.
        """
        # State t predicts response token t (B, T + 1 states, see `hidden`): the log-probabilities
        # need those before each token, hidden states the one behind the last token as well.
        wanted = batch.has_state if hidden else torch.nn.functional.pad(batch.mask, (0, 1))
        layout = self.lay_out(batch, wanted)
        output = self._run(batch, layout, adapter)
        last = output.last_hidden_state

        # Logits are the largest tensor by far: the head works where response tokens are drawn and
        # nowhere else, and at few places at a time.
        def read(states: Tensor, tokens: Tensor) -> Tensor:
            with self.using(adapter) as model:
                logits = logits_of(base_of(model), output, states)[:, : self.vocabulary]
            return of_logits(logits.float() / temperature, tokens)

        tokens = batch.responses[batch.mask]
        found = in_chunks(read, layout.drawn(last), tokens, self.vocabulary)
        rows = found.new_zeros(batch.mask.shape).masked_scatter(batch.mask, found)
        return rows, layout.states(last) if hidden else rows

    def logprobs_and_kl(self, batch: Sequences, adapter: str) -> tuple[Tensor, Tensor, Tensor]:
        """What the adapter and the reference say of the response tokens, at temperature 1.

        Returns:
            (B, T) float32, 0 at padding: log-probabilities of the adapter, those of the reference
            without gradient, and the KL of the next-token distributions, KL(reference || adapter).
        """
        wanted = torch.nn.functional.pad(batch.mask, (0, 1))
        with torch.no_grad():
            layout = self.lay_out(batch, wanted)
            reference = self._run(batch, layout, None)
            ref_states = layout.drawn(reference.last_hidden_state)
        layout = self.lay_out(batch, wanted)
        output = self._run(batch, layout, adapter)

        def head(states: Tensor, which: str | None, run: Any) -> Tensor:
            with self.using(which) as model:
                return logits_of(base_of(model), run, states)[:, : self.vocabulary].float()

        def read(states: Tensor, tokens: Tensor) -> Tensor:
            own, theirs = states.chunk(2, dim=1)
            logits = head(own, adapter, output)
            with torch.no_grad():
                ref_logits = head(theirs, None, reference)
            said = chosen_logprobs(logits, tokens), chosen_logprobs(ref_logits, tokens)
            return torch.stack([*said, forward_kl(logits[None], ref_logits[None])[0]], dim=1)

        states = torch.cat([layout.drawn(output.last_hidden_state), ref_states], dim=1)
        tokens = batch.responses[batch.mask]
        found = in_chunks(read, states, tokens, 2 * self.vocabulary)
        blank = found.new_zeros(batch.mask.shape)
        own, theirs, kl = (blank.masked_scatter(batch.mask, x) for x in found.unbind(dim=1))
        return own, theirs.detach(), kl

    def hidden(self, batch: Sequences, adapter: str | None, wanted: Tensor | None = None) -> Tensor:
        """(B, T + 1, d) last hidden states from the token before the response to its last token.

        Column t is the state before response token t was drawn (what a value judges); column
        t + 1 is the state that has seen it (what a reward judges). Only the states that `wanted`
        (B, T + 1) marks are meaningful; None: all but padding's.
        """
        if wanted is None:
            wanted = batch.has_state
        layout = self.lay_out(batch, wanted)
        return layout.states(self._run(batch, layout, adapter).last_hidden_state)

    def _run(self, batch: Sequences, layout: Layout, adapter: str | None) -> Any:
        """Output of the decoder, without the LM head, right at the states that are read."""
        self._check_context(batch)
        inputs = layout.inputs
        with self.using(adapter) as model:
            decoder = decoder_of(model)
            # What is not read in the end needs no MLP in the last layer
            # (`bench.models.fast.narrowing`).
            narrow = partial(last_mlp_at, decoder, layout.read, inputs["input_ids"].shape)
            keep: AbstractContextManager[None] = nullcontext()
            if self.recomputes:
                keep = recomputed(decoder, lambda: self._again(adapter, narrow))
            with narrow(), keep:
                return decoder(**inputs)

    @contextmanager
    def _again(
        self, adapter: str | None, narrow: Callable[[], AbstractContextManager[None]]
    ) -> Iterator[None]:
        """What held in a forward, for a layer that is computed again in the backward."""
        with self.using(adapter), narrow():
            yield

    def within(self, most: int) -> int:
        """`most` tokens, or the model's context where that is less."""
        return most if self.context is None else min(most, self.context)

    def batch_of(self, asked: Iterable[tuple[str, list[int]]]) -> Sequences:
        """Prompts as texts and responses as ids (`Tokens.response`), a batch on the model's device.

        A response is cut where both do not fit the model's context.
        """
        prompts, responses = [], []
        for text, response in asked:
            prompt = self.tokens.prompt(text)
            prompts.append(prompt)
            responses.append(cut(prompt, response, self.within(len(prompt) + len(response))))
        return self.tokens.join(prompts, responses).to(self.device)

    def _check_context(self, batch: Sequences) -> None:
        """Refuse what is longer than the context, at no cost where the padded batch is not."""
        most = self.within(batch.ids.shape[1])
        if most < batch.ids.shape[1] and (longest := int(batch.attention.sum(1).max())) > most:
            raise too_long(longest, most)


def too_long(tokens: int, context: int) -> UserError:
    """What to say of a sequence that the model has no positions for."""
    return UserError(
        f"a sequence of {tokens} tokens does not fit the model's {context} positions: lower the "
        "max_new_tokens or max_length that it comes from, or cut prompts (model.prompt_max_tokens)"
    )


def eos_ids(model: Any) -> list[int]:
    """What ends a response by the model's own generation settings: none, one or several ids."""
    ids = model.generation_config.eos_token_id
    return [] if ids is None else [ids] if isinstance(ids, int) else list(ids)


def base_of(model: Any) -> Any:
    """The library's model, its adapters left in its layers."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def decoder_of(model: Any) -> Any:
    """The model without its LM head."""
    return base_of(model).base_model
