"""One frozen base model in memory; everything that is trained is a named LoRA adapter on it.

The reference policy is the base with all adapters off, so it costs no memory and cannot drift.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.errors import UserError
from bench.models.devices import pick_device, pick_dtype
from bench.models.lora import quicken
from bench.models.narrowing import last_mlp_at
from bench.models.packing import Packing, can_pack
from bench.models.sequences import Sequences, join
from bench.rl import token_logprobs

if TYPE_CHECKING:
    from bench.config import LoRAConfig, ModelConfig

SENTENCE_ENDS = (".", "!", "?", "\n")


class Tokens:
    """A tokenizer with the suite's prompt template: text to ids and back.

    Attributes:
        eos_id: ends a response and is scored like any other token of it.
        pad_id: fills up batches; which positions are padding is known from masks alone.
    """

    def __init__(self, tokenizer: Any, template: str) -> None:
        self.tokenizer = tokenizer
        self.template = template
        if tokenizer.eos_token_id is None:
            raise UserError(f"the tokenizer {tokenizer.name_or_path} has no EOS token: set one")
        self.eos_id: int = tokenizer.eos_token_id
        self.pad_id: int = self.eos_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    def prompt(self, text: str) -> list[int]:
        """Ids of the prompt in its template, BOS included where the tokenizer has one."""
        ids: list[int] = self.tokenizer.encode(
            self.template.format(prompt=text), add_special_tokens=True
        )
        return ids[:-1] if len(ids) > 1 and ids[-1] == self.eos_id else ids

    def response(self, text: str) -> list[int]:
        """Ids of a complete response, EOS at the end."""
        return [*self.tokenizer.encode(text, add_special_tokens=False), self.eos_id]

    def text(self, ids: list[int]) -> str:
        """The text of a response, special tokens left out."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def pieces(self, ids: list[int]) -> list[str]:
        """One readable piece of text a token."""
        return [str(self.tokenizer.decode([i])) for i in ids]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Character span of each token of a response, EOS left out."""
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return [(start, end) for start, end in encoded["offset_mapping"]]

    @cached_property
    def sentence_ends(self) -> Tensor:
        """(n,) the ids whose text ends a sentence: with ".", "!", "?" or a line break."""
        texts = self.pieces(list(range(len(self.tokenizer))))
        ends = [i for i, text in enumerate(texts) if text.rstrip(" ").endswith(SENTENCE_ENDS)]
        return torch.tensor(ends, dtype=torch.long)

    def join(self, prompts: list[list[int]], responses: list[list[int]]) -> Sequences:
        """A padded batch of token ids."""
        return join(prompts, responses, self.pad_id)


class Backbone:
    """A causal language model with named LoRA adapters.

    Attributes:
        model: the PEFT model once an adapter was added, before that the bare base.
        tokens: its tokenizer.
        device: where it lives.
        packs: whether batches go through without padding (`bench.models.packing`).
    """

    def __init__(self, model: Any, tokens: Tokens, device: torch.device) -> None:
        self.model = model.to(device).eval().requires_grad_(False)
        self.tokens = tokens
        self.device = device
        self.packs = can_pack(self.model)

    @classmethod
    def load(cls, path: str, config: ModelConfig, template: str) -> Backbone:
        """Load base and tokenizer from a folder or the hub.

        Raises:
            UserError: if they cannot be loaded; says from where.
        """
        device = pick_device(config.device)
        dtype = pick_dtype(config.dtype, device)
        local = {} if Path(path).exists() else {"revision": config.revision}
        try:
            tokenizer = AutoTokenizer.from_pretrained(path, **local)
            model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, **local)
        except (OSError, ValueError) as error:
            raise UserError(
                f"cannot load the model {path}: {str(error).splitlines()[0]} "
                "(model.path takes a folder or a hub id)"
            ) from error
        return cls(model, Tokens(tokenizer, template), device)

    @property
    def hidden_size(self) -> int:
        """Width d of the hidden states that the LM head reads."""
        return int(self.model.get_output_embeddings().weight.shape[1])

    def add_adapter(
        self, name: str, lora: LoRAConfig | None = None, folder: Path | None = None
    ) -> None:
        """Add adapter `name`: new, its output 0 (`lora`), or read from a PEFT `folder`."""
        self.drop_adapter(name)
        if folder is not None and isinstance(self.model, PeftModel):
            self.model.load_adapter(str(folder), adapter_name=name)
        elif folder is not None:
            self.model = PeftModel.from_pretrained(self.model, str(folder), adapter_name=name)
        elif lora is not None:
            self._create(name, lora)
        else:
            raise TypeError("add_adapter takes lora or folder")
        quicken(self.model)
        self.model.eval()

    def _create(self, name: str, lora: LoRAConfig) -> None:
        config = LoraConfig(
            r=lora.r,
            lora_alpha=lora.alpha,
            lora_dropout=0.0,  # rollouts and updates must see the same policy
            target_modules=lora.target_modules,
            task_type="CAUSAL_LM",
        )
        if isinstance(self.model, PeftModel):
            self.model.add_adapter(name, config)
        else:
            self.model = get_peft_model(self.model, config, adapter_name=name)

    def drop_adapter(self, name: str) -> None:
        """Remove adapter `name` if it is there."""
        if isinstance(self.model, PeftModel) and name in self.model.peft_config:
            if len(self.model.peft_config) == 1:
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
        ours = (f"lora_A.{name}.", f"lora_B.{name}.")
        return [p for n, p in self.model.named_parameters() if any(part in n for part in ours)]

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
        originals = [layer.base_layer.weight for layer in layers]
        try:
            with torch.no_grad(), self.using(None) as model:
                for layer, weight in zip(layers, originals, strict=True):
                    # another parameter, not other data: tied weights stay what they are elsewhere
                    merged = (weight + layer.get_delta_weight(adapter)).to(weight.dtype)
                    layer.base_layer.weight = torch.nn.Parameter(merged, requires_grad=False)
                yield model
        finally:
            for layer, weight in zip(layers, originals, strict=True):
                layer.base_layer.weight = weight

    def logits(self, batch: Sequences, adapter: str | None) -> Tensor:
        """(B, T, V): the distribution that each response token was drawn from; padded."""
        with self.using(adapter) as model:
            output = model(**_padded(batch), logits_to_keep=batch.mask.shape[1] + 1)
        return output.logits[:, :-1]

    def logprobs(self, batch: Sequences, adapter: str | None, temperature: float = 1.0) -> Tensor:
        """(B, T) float32 log-probabilities of the response tokens; 0 at padding."""
        return self._read(batch, adapter, temperature, hidden=False)[0]

    def logprobs_and_hidden(
        self, batch: Sequences, adapter: str | None, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """`logprobs` (B, T) and `hidden` (B, T + 1, d) in one pass."""
        logprobs, states = self._read(batch, adapter, temperature, hidden=True)
        return logprobs, states

    def _read(
        self, batch: Sequences, adapter: str | None, temperature: float, *, hidden: bool
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities, and hidden states if asked for; the head sees response tokens only."""
        pad = torch.nn.functional.pad
        read = pad(batch.mask, (1, 0), value=True) if hidden else pad(batch.mask, (0, 1))
        packing = Packing.of(batch, read) if self.packs else None
        keep: Any = (
            batch.mask.shape[1] + 1 if packing is None else packing.states[:, :-1][batch.mask]
        )
        options = {"logits_to_keep": keep, "output_hidden_states": hidden}
        output = self._run(batch, packing, adapter, read, whole=True, **options)
        if packing is None:
            logits = output.logits[:, :-1][batch.mask].unsqueeze(0)
        else:
            logits = output.logits
        tokens = batch.responses[batch.mask].unsqueeze(0)
        found = token_logprobs(logits.float() / temperature, tokens)[0]
        logprobs = found.new_zeros(batch.mask.shape).masked_scatter(batch.mask, found)
        states = self._states(output.hidden_states[-1], batch, packing) if hidden else logprobs
        return logprobs, states

    def hidden(self, batch: Sequences, adapter: str | None, read: Tensor | None = None) -> Tensor:
        """(B, T + 1, d) last hidden states from the token before the response to its last token.

        Column t is the state before response token t was drawn (what a value judges); column
        t + 1 is the state that has seen it (what a reward judges). Only the states that `read`
        (B, T + 1) marks are meaningful; None: all but padding's.
        """
        if read is None:
            read = torch.nn.functional.pad(batch.mask, (1, 0), value=True)
        packing = Packing.of(batch, read) if self.packs else None
        output = self._run(batch, packing, adapter, read, whole=False)
        return self._states(output.last_hidden_state, batch, packing)

    def _run(
        self,
        batch: Sequences,
        packing: Packing | None,
        adapter: str | None,
        read: Tensor,
        *,
        whole: bool,
        **options: Any,
    ) -> Any:
        """Output of the whole model or of the decoder alone, right at the states that are read."""
        inputs = _padded(batch) if packing is None else packing.inputs()
        places = _padded_states(batch)[read] if packing is None else packing.read
        with self.using(adapter) as model:
            decoder = (model.get_base_model() if isinstance(model, PeftModel) else model).base_model
            with last_mlp_at(decoder, places, inputs["input_ids"].shape):
                return (model if whole else decoder)(**inputs, **options)

    @staticmethod
    def _states(hidden: Tensor, batch: Sequences, packing: Packing | None) -> Tensor:
        if packing is None:
            return hidden[:, batch.prompt_width - 1 :]
        return hidden[0, packing.states]


def _padded_states(batch: Sequences) -> Tensor:
    """(B, T + 1) places of the states that `Backbone.hidden` gives, in the flattened (B, S)."""
    places = torch.arange(batch.ids.numel(), device=batch.ids.device).view_as(batch.ids)
    return places[:, batch.prompt_width - 1 :]


def _padded(batch: Sequences) -> dict[str, Any]:
    """What the model is called with for a padded batch."""
    return {
        "input_ids": batch.ids,
        "attention_mask": batch.attention.long(),
        "position_ids": batch.positions,
        "use_cache": False,
    }
