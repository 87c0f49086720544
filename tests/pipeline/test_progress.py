"""What a run tells: a line now and then on a pipe, bars on a terminal."""

import io

import pytest
from rich.console import Console

from bench.pipeline.progress import Progress, duration


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


def plain(out: io.StringIO, clock: Clock) -> Progress:
    return Progress(Console(file=out, width=120, force_terminal=False), clock)


def test_a_pipe_gets_start_end_and_a_line_every_ten_seconds(out, clock) -> None:
    progress = plain(out, clock)
    with progress.task("PPO", total=100) as task:
        for _ in range(100):
            clock.now += 0.25
            task.advance(1, note="kl 3.1 gold .21")
    lines = out.getvalue().splitlines()
    assert lines[0] == "PPO: started, 100 steps"
    assert [line.split()[1] for line in lines[1:]] == ["40/100", "80/100", "100/100"]
    assert lines[1] == "PPO: 40/100 after 10 s, about 15 s left; kl 3.1 gold .21"
    assert lines[-1] == "PPO: 100/100 in 25 s (kl 3.1 gold .21)"


def test_a_stopped_task_says_where(out, clock) -> None:
    with pytest.raises(KeyboardInterrupt), plain(out, clock).task("SFT", total=10) as task:
        task.advance(3)
        clock.now += 65
        raise KeyboardInterrupt
    assert out.getvalue().splitlines()[-1] == "SFT: stopped at 3/10 after 1 min 05 s"


def test_a_task_without_a_total_counts(out, clock) -> None:
    with plain(out, clock).task("reading") as task:
        task.advance(5)
    assert out.getvalue().splitlines() == ["reading: started", "reading: 5 in 0.0 s"]


def test_lines_are_neither_wrapped_nor_taken_for_markup(out, clock) -> None:
    progress = plain(out, clock)
    progress.say("[bold] " + "x" * 200)
    assert out.getvalue() == "[bold] " + "x" * 200 + "\n"


def test_a_terminal_gets_a_bar_and_one_line_that_stays(out, clock) -> None:
    console = Console(file=out, force_terminal=True, width=120, legacy_windows=False)
    progress = Progress(console, clock)
    with progress.task("RM", total=2) as outer, progress.task("inner", total=1) as inner:
        inner.advance()
        progress.say("between")
        outer.advance(2, note="loss 0.3")
    text = out.getvalue()
    assert "RM" in text
    assert "\x1b[" in text
    assert "between" in text
    assert "RM: 2/2 in" in text.splitlines()[-1]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.44, "0.4 s"),
        (52.4, "52 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_what_is_done_is_a_line_on_a_pipe_and_gone_from_a_terminal(out, clock) -> None:
    with plain(out, clock).doing("doctor: padding [3 of 15]"):
        assert out.getvalue() == "doctor: padding [3 of 15]\n"
    assert out.getvalue().count("\n") == 1
    screen = io.StringIO()
    terminal = Progress(Console(file=screen, width=80, force_terminal=True, legacy_windows=False))
    with terminal.doing("doctor: padding [3 of 15]"):
        pass
    assert "doctor: padding [3 of 15]" in screen.getvalue()
    assert screen.getvalue().endswith("\x1b[1A\x1b[2K")  # the line is taken away
