"""One run in several processes of this machine, a GPU each (`bench run --gpus`).

torch's elastic agent starts them, as torchrun and `accelerate launch` do, and ends all where one
ends badly. On several machines those two are the commands to use.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import uuid4

from bench.errors import UserError

_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")  # that end the processes, and so the run


def check_gpus(gpus: int, *, alone: bool) -> None:
    """Refuse more processes than there are GPUs, and several beside other runs.

    Args:
        gpus: how many share the work of a run.
        alone: whether runs come one after the other, here.

    Raises:
        UserError: saying how many GPUs there are, or what to leave out.
    """
    if gpus == 1:
        return
    if not alone:
        raise UserError("--gpus gives a run several GPUs here: leave out --jobs and --launcher")
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
        0, or the exit code of the process that ended badly first; the first process has said why.

    Raises:
        UserError: a signal ended one, and so the run.
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
        with _signals_lent():
            elastic_launch(settings, sys.executable)("-m", "bench", *arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode >= 0:
            return int(failure.exitcode)
        raise UserError(
            f"signal {-failure.exitcode} ended process {rank} of the run, and so the others; what "
            "is finished is kept, run the same command again to go on",
            exit_code=1,
        ) from error
    except SignalException as error:
        return 128 + int(error.sigval)  # as a shell has it
    return 0


@contextmanager
def _signals_lent() -> Iterator[None]:
    """Let torch's agent handle signals for a while, but those that are ignored, as under nohup."""
    before = {name: signal.getsignal(getattr(signal, name)) for name in _SIGNALS}
    heard = [name for name, handler in before.items() if handler != signal.SIG_IGN]
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = ",".join(heard)
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
