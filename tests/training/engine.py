"""A real HTTP server on 127.0.0.1 that answers as vLLM does, from a tiny model of its own.

    with Engine(tiny_backbone()) as engine:      # the base; adapters come over the wire
        PPOConfig(engine="vllm", engine_url=engine.url)

It keeps to what the client relies on: an adapter is read from its folder when it is loaded, a name
is loaded once, and, as with vLLM's prefix cache, a name that it knows stands for the weights that
it first had, even when it was unloaded meanwhile. The responses are drawn by our own decode loop
from the request's seed; a stop token is among the ids, as in vLLM.

`faults(path, n)`, n the number of the request on that path from 1, may say what happens instead:
None (nothing), "cut" (the connection ends before the server has acted), "lost" (after it has), a
number of seconds (that it waits), or (status, content).
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

from bench.models.backbone import Backbone
from bench.models.rollout import Sampling, draw_responses

LOAD, UNLOAD, DRAW = "/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/v1/completions"
Reply = tuple[int, Any]


def nothing(path: str, n: int) -> Any:
    return None


def refusal(status: int, message: str) -> Reply:
    return status, {"error": {"message": message, "type": "BadRequestError", "code": status}}


class Engine:
    """Serves while its `with` block runs.

    Attributes:
        backbone: its base and the adapters that it has been given, by name.
        loaded: names that may be asked for.
        requests: (path, body) of every request, in order of arrival.
        change: applied to the choice of every completion before it is sent.
        max_rank: as --max-lora-rank.
        under_way, most_at_once: requests that are being answered, and the most that were.
    """

    def __init__(self, backbone: Backbone, max_rank: int = 16) -> None:
        self.backbone, self.max_rank = backbone, max_rank
        self.loaded: list[str] = []
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.faults: Callable[[str, int], Any] = nothing
        self.change: Callable[[dict[str, Any]], dict[str, Any]] = lambda choice: choice
        self.most_at_once = 0
        self.under_way, self._counts = 0, Counter[str]()
        self._lock, self._model = threading.Condition(), threading.Lock()
        self._ended = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Engine:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        # A request whose client has given up must not go on behind the test: a new adapter draws
        # from torch's global generator, from which the next test may be drawing.
        self._ended.set()
        with self._lock:
            self._lock.wait_for(lambda: not self.under_way)
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def bodies(self, path: str) -> list[dict[str, Any]]:
        """Of the requests on a path, in order of arrival."""
        return [body for asked, body in self.requests if asked == path]

    def answer(self, path: str, body: dict[str, Any]) -> Reply | None:
        """What goes back; None: nothing, the connection is cut."""
        with self._lock:
            self._counts[path] += 1
            fault = self.faults(path, self._counts[path])
            self.requests.append((path, body))
            self.under_way += 1
            self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            if isinstance(fault, float):
                self._ended.wait(fault)
            if self._ended.is_set():
                return None
            if isinstance(fault, tuple):
                return fault
            reply = None if fault == "cut" else self._route(path, body)
            return None if fault == "lost" else reply
        finally:
            with self._lock:
                self.under_way -= 1
                self._lock.notify_all()

    def _route(self, path: str, body: dict[str, Any]) -> Reply:
        if path == DRAW:
            return self._draw(body)
        name = body["lora_name"]
        if path == LOAD:
            return self._load(name, Path(body["lora_path"]))
        if name not in self.loaded:
            return refusal(404, f"The lora adapter '{name}' cannot be found.")
        self.loaded.remove(name)
        return 200, f"Success: LoRA adapter '{name}' removed successfully."

    def _load(self, name: str, folder: Path) -> Reply:
        if name in self.loaded:
            return refusal(400, f"The lora adapter '{name}' has already been loaded.")
        if not (folder / "adapter_config.json").exists():
            return refusal(404, f"Loading lora {name} failed: No adapter found for {folder}")
        rank = json.loads((folder / "adapter_config.json").read_text())["r"]
        if rank > self.max_rank:
            message = f"LoRA rank {rank} is greater than max_lora_rank {self.max_rank}."
            return refusal(400, message)
        if name not in getattr(self.backbone.model, "peft_config", {}):
            self.backbone.add_adapter(name, folder=folder)
        self.loaded.append(name)
        return 200, f"Success: LoRA adapter '{name}' added successfully."

    def _draw(self, body: dict[str, Any]) -> Reply:
        if body["model"] not in self.loaded:
            return refusal(404, f"The model `{body['model']}` does not exist.")
        with self._model:  # a model has one active adapter
            drawn = draw_responses(
                self.backbone,
                body["model"],
                [body["prompt"]],
                Sampling(body["max_tokens"], body["temperature"], merge=False),
                torch.Generator().manual_seed(body["seed"]),
            )[0]
        stop = drawn.ids[-1] in body["stop_token_ids"]
        choice = {
            "index": 0,
            "text": "never looked at",
            "token_ids": drawn.ids,
            "logprobs": {"token_logprobs": drawn.logprobs},
            "finish_reason": "stop" if stop else "length",
            "stop_reason": drawn.ids[-1] if stop else None,
        }
        return 200, {"choices": [self.change(choice)]}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, engine: Engine, *args: Any) -> None:
        self.engine = engine
        super().__init__(*args)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        reply = self.engine.answer(self.path, body)
        if reply is None:
            self.close_connection = True
            return
        status, content = reply
        sent = content if isinstance(content, str) else json.dumps(content)
        self.send_response(status)
        self.send_header("Content-Length", str(len(sent.encode())))
        self.end_headers()
        self.wfile.write(sent.encode())

    def log_message(self, *args: Any) -> None:
        """Nothing on the tests' terminal."""
