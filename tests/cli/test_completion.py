"""What a shell is offered, asked as its script asks."""

import os
import subprocess
import sys

import pytest


def asked(line: str, code: str = "from bench.cli import main; main()") -> str:
    words = line.split(" ")
    environment = {
        "_BENCH_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("bench comp", ["compare"]),
        ("bench run --method tok", ["token_ppo"]),
        ("bench run --method sft,token_ppo,s", ["sft,token_ppo,segment_ppo"]),
        ("bench run --suite tes", ["testbed"]),
        ("bench leaderboard --suite tes", ["testbed"]),
        ("bench run --preset smollm2-", ["smollm2-gpu"]),
        ("bench config --config smollm2-", ["smollm2-gpu"]),
        ("bench config --method gold_p", ["gold_ppo"]),
        ("bench judge --judge rep", ["replay"]),
        ("bench edit --editor cl", ["claude"]),
        ("bench run --preset ./mine", []),  # the shell offers files
    ],
)
def test_names_are_completed(line: str, offered: list[str]) -> None:
    assert asked(line).split() == offered


def test_nothing_heavy_is_imported_meanwhile() -> None:
    code = (
        "import sys, atexit\n"
        "def heavy(): print('heavy:', *({'torch', 'transformers', 'numpy'} & set(sys.modules)))\n"
        "atexit.register(heavy)\n"
        "from bench.cli import main; main()\n"
    )
    assert asked("bench run --method tok", code).split() == ["token_ppo", "heavy:"]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_script_is_that_of_the_command_and_the_help_is_short() -> None:
    """Of `python -m bench` a shell could complete nothing."""
    shown = bench("--show-completion")
    assert (shown.returncode, shown.stderr) == (0, "") or "not supported" in shown.stderr
    assert "python" not in shown.stdout
    assert "completion" not in bench("--help").stdout
    wrong = bench("run", "--show-completion")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: No such option: --show-completion (python -m bench run")
