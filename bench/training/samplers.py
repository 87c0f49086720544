"""Who draws PPO's rollouts: this process, or a vLLM server beside it (`ppo.engine`).

vLLM pins other versions of torch and transformers than this project, so it lives in an environment
of its own and is spoken to over HTTP. It serves the SFT model; the policy is an adapter, which is
saved before every rollout and loaded by its path. Token ids go in and come out, never texts, which
would not always be the same tokens again.

**Never run against a real vLLM.** Written from its sources as they are published (GitHub,
vllm-project/vllm, its main branch of 2026; each file with the commit that was read):
`vllm/entrypoints/openai/completion/protocol.py` (commit 002032e) and `serving.py` (030ea52) for
/v1/completions, `vllm/entrypoints/openai/models/serving.py` (4fe4500) and
`vllm/entrypoints/serve/lora/api_router.py` (27873ca) for adapters, `vllm/v1/core/sched/utils.py`
(018d5dc) and `vllm/v1/engine/detokenizer.py` for how a response ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

import httpx2
import torch
from torch import Tensor

from bench.errors import UserError
from bench.models import processes
from bench.models.rollout import Draw, Sampling, draw_responses

if TYPE_CHECKING:
    from bench.config.run import PPOConfig
    from bench.models.backbone import Backbone

AT_ONCE = 256  # requests under way at most; as many as vLLM decodes together by its own default
TRIES = 4  # of a request whose connection fails; the same seed asks for the same response
PAUSE_S = 1.0  # before the second try; twice as long before each later one
PATIENCE_S = 600.0  # for one response, which may wait for others in the server's queue
_UNKNOWN = float("nan")  # a log-probability that the engine did not give


class Sampler(Protocol):
    """Draws responses of the policy."""

    def draw(
        self,
        prompts: list[list[int]],
        adapter: str,
        sampling: Sampling,
        rng: torch.Generator,
        value: Callable[[Tensor], Tensor] | None = None,
    ) -> list[Draw]:
        """One response a prompt; takes what `draw_responses` takes."""


class OwnSampler:
    """Our own decode loop."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone

    def draw(
        self,
        prompts: list[list[int]],
        adapter: str,
        sampling: Sampling,
        rng: torch.Generator,
        value: Callable[[Tensor], Tensor] | None = None,
    ) -> list[Draw]:
        """What `draw_responses` draws."""
        return draw_responses(self.backbone, adapter, prompts, sampling, rng, value)


class VLLMSampler:
    """A client of vLLM's OpenAI-compatible server.

    Args:
        backbone: the SFT model, which the server serves too, with the policy's adapter on it.
        url: where the server listens.
        folder: where adapters are saved for it to read, by the same path there as here; None: the
            machine's folder for temporary files.
    """

    def __init__(self, backbone: Backbone, url: str, folder: str | None) -> None:
        self.backbone, self.url, self.folder = backbone, url.rstrip("/"), folder
        # The server's prefix cache knows an adapter by its name alone: keys and values that an
        # older version left there would be taken for a newer one's of the same name. So no name is
        # ever used twice, by no other run either.
        self._prefix, self._versions = f"grainbench-{uuid4().hex[:12]}", 0
        self._served: tuple[str, TemporaryDirectory[str]] | None = None

    def draw(
        self,
        prompts: list[list[int]],
        adapter: str,
        sampling: Sampling,
        rng: torch.Generator,
        value: Callable[[Tensor], Tensor] | None = None,
    ) -> list[Draw]:
        """One response a prompt, without entropies and values, which a server does not give.

        A log-probability that it does not give either is NaN. One seed makes the same requests;
        whether it makes the same text is the server's affair.

        Raises:
            UserError: the server does not answer, or not as it should; says what it needs.
        """
        if value is not None:
            raise TypeError("a server has no value function")
        seeds = torch.randint(2**62, (len(prompts),), generator=rng).tolist()
        # Of several processes all draw the seeds, so that their generators stay in step.
        return processes.from_first(lambda: self._draw(prompts, adapter, sampling, seeds))

    def _draw(
        self, prompts: list[list[int]], adapter: str, sampling: Sampling, seeds: list[int]
    ) -> list[Draw]:
        # No proxy: the server is on this machine, or beside it.
        limits = httpx2.Limits(max_connections=AT_ONCE)
        timeout = httpx2.Timeout(PATIENCE_S, connect=10.0, pool=None)
        with (
            httpx2.Client(base_url=self.url, timeout=timeout, limits=limits, trust_env=False) as to,
            ThreadPoolExecutor(min(AT_ONCE, sampling.batch_size)) as pool,
        ):
            name = self._load(to, adapter)
            ask = lambda prompt, seed: self._ask(to, name, prompt, seed, sampling)
            return list(pool.map(ask, prompts, seeds))

    def _load(self, to: httpx2.Client, adapter: str) -> str:
        """Save the adapter as it is now, have it loaded, and the version before it dropped."""
        self._versions += 1
        name = f"{self._prefix}-{self._versions}"
        try:
            folder = TemporaryDirectory(prefix=f"{name}-", dir=self.folder)
            path = Path(folder.name).resolve()
            if self.folder is not None:
                path.chmod(0o755)  # there the server may run as somebody else
            self.backbone.save_adapter(adapter, path)
        except OSError as error:
            raise UserError(
                f"ppo.engine_folder={self.folder}: the adapter cannot be written ({error})"
            ) from error
        body = {"lora_name": name, "lora_path": str(path)}
        reply = self._post(to, "/v1/load_lora_adapter", body)
        said = _said(reply)
        # Nobody else uses the name: then it was our own request, the answer to which was lost.
        if not reply.is_success and "already been loaded" not in said:
            needs = "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in its environment and --enable-lora "
            needs += f"--max-lora-rank {self.backbone.model.peft_config[adapter].r} (or more)"
            if "No adapter found" in said:
                needs = f"to see the folder {path.parent}: set ppo.engine_folder to one that it "
                needs += "has under the same path"
            raise self._problem(
                f"the adapter was not loaded ({reply.status_code} {said}): the server needs {needs}"
            )
        if self._served is not None:
            before, old = self._served
            # Of no consequence where it fails: nobody asks for that name again.
            self._post(to, "/v1/unload_lora_adapter", {"lora_name": before})
            old.cleanup()
        self._served = name, folder
        return name

    def _ask(
        self, to: httpx2.Client, name: str, prompt: list[int], seed: int, sampling: Sampling
    ) -> Draw:
        """One response to a prompt."""
        reply = self._post(
            to,
            "/v1/completions",
            {
                "model": name,
                "prompt": prompt,
                "max_tokens": sampling.max_new_tokens,
                "temperature": sampling.temperature,
                "seed": seed,
                "stop_token_ids": self.backbone.tokens.eos_ids,
                "return_token_ids": True,
                "logprobs": 0,  # of the token that is drawn, and of no other
                # Said, since a server takes what is not from the model's generation_config.json.
                "top_p": 1.0,
                "top_k": 0,
                "min_p": 0.0,
                "repetition_penalty": 1.0,
                "presence_penalty": 0.0,
                "frequency_penalty": 0.0,
            },
        )
        if reply.status_code == 404:
            raise self._problem(
                f"the server does not know the adapter {name} that it has loaded ({_said(reply)}): "
                "it was started again meanwhile, or is several (give it --api-server-count 1)"
            )
        if not reply.is_success:
            raise self._problem(f"the server refused to draw ({reply.status_code} {_said(reply)})")
        try:
            choice = reply.json()["choices"][0]
            ids = [int(i) for i in choice["token_ids"]]
            given = (choice.get("logprobs") or {}).get("token_logprobs") or []
            logprobs = [_UNKNOWN if number is None else float(number) for number in given]
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise self._problem(
                f"an answer without choices[0].token_ids ({_said(reply)}): is it a vLLM that knows "
                "return_token_ids?"
            ) from error
        ids = self._ended(ids, choice, sampling.max_new_tokens)
        logprobs += [_UNKNOWN] * (len(ids) - len(logprobs))
        return Draw(ids, logprobs[: len(ids)])

    def _ended(self, ids: list[int], choice: dict[str, Any], most: int) -> list[int]:
        """The response, EOS included where it ended in one; checked."""
        tokens, finish = self.backbone.tokens, choice.get("finish_reason")
        if finish == "stop" and not (ids and ids[-1] in tokens.eos_ids):
            # vLLM leaves the id at which it stopped among the others; one that leaves it away names
            # it, but for the tokenizer's own EOS.
            reason = choice.get("stop_reason")
            ids = [*ids, tokens.eos_id if reason is None else reason]
        if finish == "stop" and ids[-1] not in tokens.eos_ids:
            raise self._problem(
                f"a response stopped at {ids[-1]!r}, which ends none here: give the server "
                "--generation-config vllm"
            )
        if outside := [i for i in ids if not 0 <= i < self.backbone.vocabulary]:
            raise self._problem(
                f"a response has the id {outside[0]} and the tokenizer {self.backbone.vocabulary} "
                "ids: does the server have the run's SFT model?"
            )
        if finish == "length" and len(ids) < most:
            raise self._problem(
                f"a response was cut off after {len(ids)} of {most} tokens: give the server a "
                "larger --max-model-len"
            )
        if finish not in ("stop", "length") or len(ids) > most:
            raise self._problem(f"a response of {len(ids)} tokens that ended by {finish!r}")
        return ids

    def _post(self, to: httpx2.Client, path: str, body: dict[str, Any]) -> httpx2.Response:
        for tried in range(1, TRIES + 1):
            try:
                return to.post(path, json=body)
            except (httpx2.ReadTimeout, httpx2.WriteTimeout) as error:
                raise self._problem(f"no answer to {path} in {PATIENCE_S:g} s") from error
            except httpx2.TransportError as error:
                if tried == TRIES:
                    raise self._problem(
                        f"no vLLM server can be reached ({type(error).__name__}: {error}): start "
                        f"one with the model {self.backbone.model.name_or_path} of the store, as "
                        "docs/training.md says"
                    ) from error
                time.sleep(PAUSE_S * 2 ** (tried - 1))
        raise AssertionError("unreachable")

    def _problem(self, what: str) -> UserError:
        return UserError(f"ppo.engine_url={self.url}: {what}", exit_code=1)


def sampler_of(backbone: Backbone, config: PPOConfig) -> Sampler:
    """The one that `ppo.engine` names."""
    if config.engine == "vllm" and config.engine_url is not None:
        return VLLMSampler(backbone, config.engine_url, config.engine_folder)
    return OwnSampler(backbone)


def _said(reply: httpx2.Response) -> str:
    """The first words of an answer, on one line; of an error its message."""
    try:
        found = reply.json()
        text = str(found.get("error", found).get("message", found))
    except (AttributeError, ValueError):
        text = reply.text
    return " ".join(text.split())[:200]
