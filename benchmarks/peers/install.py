"""The peers' packages, each in a folder of its own: two versions of TRL do not fit in one place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.errors import UserError

FOLDER = Path(__file__).resolve().parents[1] / ".peers"
PPO, REWARD = "trl==1.12.0", "trl==1.16.0"  # the last with PPO; a RewardTrainer of today
PEERS = (PPO, REWARD)


def install(peers: tuple[str, ...] = PEERS) -> None:
    """Install the peers, without dependencies: they run on this harness's own torch and PEFT."""
    for peer in peers:
        target = ["--no-deps", "--target", str(_folder(peer))]
        subprocess.run([sys.executable, "-m", "pip", "install", *target, peer], check=True)


def import_path(peer: str) -> str:
    """The folder from which `peer` can be imported.

    Raises:
        UserError: if it was not installed.
    """
    folder = _folder(peer)
    if not (folder / "trl").is_dir():
        raise UserError(f"{peer} is not installed: python -m benchmarks.peers --install")
    return str(folder)


def _folder(peer: str) -> Path:
    return FOLDER / peer.replace("==", "-")
