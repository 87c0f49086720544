"""What the command line needs around its verbs: errors as lines, signals, exit codes, tables."""

from __future__ import annotations

import functools
import io
import os
import re
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

import typer

from bench.errors import UserError
from bench.grid import Grid, to_rich
from bench.models import processes

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

P = ParamSpec("P")
R = TypeVar("R")
# As shells have it, the number of the signal and 128.
_BY_SIGNAL = 128
_CLOSED = _BY_SIGNAL + signal.SIGPIPE
# A wrong option or argument; typer brings click along under a name of its own.
_UsageError: Any = typer.BadParameter.__bases__[0]
_COMPLETION = ("install_completion", "show_completion")
_COMPLETES = "_BENCH_COMPLETE"  # in the environment, by which a shell's script asks
_WIDE = 160  # where no terminal says how wide it is


class Signalled(KeyboardInterrupt):
    """A signal that ends what runs just as Ctrl-C does: the stage is put away."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def answer(app: typer.Typer, arguments: list[str]) -> int:
    """Run one command line and return its exit code; a mistake in it is one line.

    SIGTERM, as a scheduler sends it, and SIGHUP interrupt from now on as Ctrl-C does. A signal that
    is ignored because whoever started this said so (nohup, a script's `&`) stays ignored; Python
    sees to that for Ctrl-C's own. A scheduler means it, so SIGTERM is never ignored.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may know few letters
            stream.reconfigure(errors="backslashreplace")
    try:
        _check_empty(arguments)
        command = typer.main.get_command(app)
        for parameter in command.params:  # README has them; no help of a verb does
            if isinstance(parameter, typer.core.TyperOption):
                parameter.hidden = parameter.name in _COMPLETION
        shown = arguments or ["--help"]
        # A shell completes the command that an installation brings, and no module of Python.
        completes = _COMPLETES in os.environ or _option(shown[0]) in _COMPLETION
        name = "bench" if completes else "python -m bench"
        code = command.main(shown, prog_name=name, complete_var=_COMPLETES, standalone_mode=False)
        sys.stdout.flush()
    except _UsageError as error:
        path = error.ctx.command_path if error.ctx else "python -m bench"
        message = " ".join(error.format_message().split())
        return _said(f"error: {message} ({path} -h lists what there is)", 2)
    except UserError as error:
        return _said(f"error: {error}", error.exit_code)
    except KeyboardInterrupt as error:  # before or behind the verb
        return _said("interrupted", exit_code(error))
    except OSError as error:  # of the flush
        return _unwritten(error)
    return (code or 0) if arguments else 2


def _option(argument: str) -> str:
    return argument.removeprefix("--").replace("-", "_")


def exit_code(error: KeyboardInterrupt) -> int:
    """What a command ends with that was interrupted: 130 by Ctrl-C, 143 by SIGTERM."""
    return _BY_SIGNAL + (error.number if isinstance(error, Signalled) else signal.SIGINT)


def _interrupt(number: int, _frame: Any) -> NoReturn:
    raise Signalled(number)


def signals_end() -> None:
    """Let the system end this process at a signal from now on: all is said and written.

    Libraries still put themselves away, seconds long where processes shared a run; an exception of
    ours in there would be printed with its traceback.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _check_empty(arguments: list[str]) -> None:
    """Refuse what a shell makes of a variable that is not set; no option has a use for it."""
    before = "the first"
    for argument in arguments:
        if argument == "" or re.fullmatch(r"--[\w-]+=", argument):
            name = argument.rstrip("=") or f"the argument behind {before}"
            raise UserError(f"{name} is empty: say what is meant, or leave it out")
        before = argument


def _said(line: str, code: int) -> int:
    typer.echo(line, err=True)
    return code


def _unwritten(error: OSError) -> int:
    """Say that standard output takes no more; the exit code."""
    # Python writes what is left once more when it ends, and would complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):  # `| head` has seen enough
        return _CLOSED
    return _said(f"error: cannot write to standard output: {error.strerror}", 1)


def guarded(verb: Callable[P, R]) -> Callable[P, R]:
    """End a verb's errors as one line on standard error and an exit code."""

    @functools.wraps(verb)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return verb(*args, **kwargs)
        except (typer.Exit, typer.BadParameter):
            raise
        except UserError as error:
            if processes.is_told(error):  # its exit code, too, is the first process's to give
                raise typer.Exit from None
            fail(f"error: {error}", error.exit_code)
        except KeyboardInterrupt as error:
            if not processes.is_first():
                raise typer.Exit from None
            fail(
                "interrupted: what is finished is kept, run the same command again to go on",
                exit_code(error),
            )
        except BrokenPipeError as error:
            raise typer.Exit(_unwritten(error)) from None
        except Exception as error:  # noqa: BLE001 (the last resort: the traceback goes to a file)
            place = _save_traceback(kwargs.get("store"))
            what = " ".join(f"{type(error).__name__}: {error}".split())
            fail(f"error: {what[:500]} (unexpected; traceback in {place})", 1)

    return wrapper


def fail(line: str, code: int) -> NoReturn:
    """Print a line on standard error and end with `code`."""
    typer.echo(line, err=True)
    raise typer.Exit(code)


def use_threads(threads: int | None) -> None:
    """Give torch this many CPU threads; before torch is imported."""
    if threads is not None:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[name] = str(threads)


def show(*things: Grid | RenderableType | str) -> None:
    """Print to standard output, which holds results alone; a text as it is."""
    try:
        for thing in things:
            if isinstance(thing, str):
                typer.echo(thing.rstrip("\n"))
            else:
                _console().print(to_rich(thing) if isinstance(thing, Grid) else thing)
        sys.stdout.flush()
    except OSError as error:  # of standard output, and of no other file
        raise typer.Exit(_unwritten(error)) from None


def complain(lines: Iterable[str]) -> None:
    """Print warnings on standard error."""
    for line in lines:
        typer.echo(f"warning: {line}", err=True)


def _console() -> Console:
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            """Leave it to `_unwritten`; the library's own way ends with exit code 1."""
            raise  # noqa: PLE0704 - it is called where the error is handled

    measured = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Plain(width=None if measured else _WIDE, highlight=False)


def _save_traceback(store: Any) -> Path | str:
    from bench.pipeline.store import default_root

    name = f"{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.txt"
    for root in (store or default_root(), tempfile.gettempdir()):
        folder = Path(root) / "tracebacks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(traceback.format_exc(), encoding="utf-8")
        except OSError:
            continue
        return folder / name
    return "no file: neither the store nor the temporary folder can be written"
