"""What trackers wrote, read back: {metric: [(step, value), ...]} in the order it was logged in."""

from __future__ import annotations

import json
import struct
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

Logged = dict[str, list[tuple[int, float]]]


def read_tensorboard(root: Path) -> Logged:
    """By TensorBoard's own reader, all event files of the run together."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = root.glob("results/*/*/tensorboard/*")
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def read_wandb(root: Path) -> Logged:
    """From the folders of offline runs, which is what `wandb sync` sends."""
    logged = defaultdict(list)
    for file in sorted(root.glob("wandb/offline-run-*/run-*.wandb")):
        for values in _history(file):
            for name, value in values.items():
                stage = name.partition("/")[0]
                if "/" in name and not name.endswith("/step"):
                    logged[name].append((values[f"{stage}/step"], value))
    return dict(logged)


def _history(file: Path) -> Iterator[dict[str, float]]:
    from wandb.proto.wandb_internal_pb2 import Record

    for data in _chunks(file.read_bytes()):
        record = Record.FromString(data)
        if record.WhichOneof("record_type") == "history":
            yield {
                item.key or "/".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }


def _chunks(content: bytes) -> Iterator[bytes]:
    """The records of a LevelDB log: blocks of 32 KiB, of which a record may take several."""
    at, block, part = 7, 32768, b""  # behind W&B's header
    while at + 7 <= len(content):
        if block - at % block < 7:  # too little for another header
            at += block - at % block
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        part += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or its last piece
            yield part
            part = b""


def read_mlflow(root: Path) -> Logged:
    """Through its client; the store is a SQLite file."""
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("grainbench")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name.startswith("token_ppo")
    return {
        name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }


def read_trackio(root: Path) -> Logged:
    """From its local database."""
    from trackio.sqlite_storage import SQLiteStorage

    (name,) = SQLiteStorage.get_runs("grainbench")
    logged = defaultdict(list)
    for row in SQLiteStorage.get_logs("grainbench", name):
        for metric, value in row.items():
            if "/" in metric:
                logged[metric].append((row["step"], value))
    return dict(logged)


READERS: dict[str, Callable[[Path], Logged]] = {
    "tensorboard": read_tensorboard,
    "wandb": read_wandb,
    "mlflow": read_mlflow,
    "trackio": read_trackio,
}
