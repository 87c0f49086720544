"""One run in several processes of this machine, a GPU each (`bench run --gpus`).

torch's elastic agent starts them, as torchrun and `accelerate launch` do, and ends all where one
ends badly. On several machines those two are the commands to use.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from uuid import uuid4

from bench.errors import UserError


def check_gpus(gpus: int) -> None:
    """Refuse more processes than there are GPUs.

    Raises:
        UserError: saying how many there are.
    """
    import torch

    there = torch.cuda.device_count()
    if gpus > there:
        found = {0: "no GPU", 1: "one GPU"}.get(there, f"{there} GPUs")
        raise UserError(
            f"--gpus {gpus}: this machine has {found}; on CPUs and on several machines start the "
            "processes with `accelerate launch ... -m bench run ...`"
        )


def run_together(arguments: Sequence[str], count: int) -> int:
    """Run `python -m bench ARGUMENTS` in `count` processes that share its work.

    Returns:
        0, or the exit code of the process that ended badly first, below 0 where a signal ended it.

    Raises:
        KeyboardInterrupt: they were interrupted, and have ended.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # What goes wrong in a run its first process says; the agent would add a page about processes.
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    settings = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",  # any free port: two such runs do not meet
        max_restarts=0,  # the same command goes on from the store's checkpoints
        logs_specs=DefaultLogsSpecs(),
    )
    try:
        elastic_launch(settings, sys.executable)("-m", "bench", *arguments)
    except ChildFailedError as error:
        return int(error.get_first_failure()[1].exitcode)
    except SignalException as error:
        raise KeyboardInterrupt from error
    return 0
