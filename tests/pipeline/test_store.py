"""Finished stages: whole or not there, whatever happens while one is made."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.pipeline import store as store_module
from bench.pipeline.store import Artifact, Store, default_root
from bench.training.checkpoints import Checkpoints


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path, warnings) -> Store:
    return Store(tmp_path / "store", warn=warnings.append)


def make(store: Store, key: str = "k", text: str = "hello") -> Artifact:
    with store.building("sft", key) as build:
        (build.path / "deep").mkdir()
        (build.path / "deep" / "a.txt").write_text(text)
        build.stats["steps"] = 3
    found = store.find("sft", key)
    assert found is not None
    return found


def everything(root: Path) -> list[str]:
    files = (p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    return sorted(name for name in files if not name.startswith("locks/"))


def test_an_artifact_is_found_with_its_metadata(store: Store) -> None:
    assert store.find("sft", "k") is None
    assert not store.root.exists()
    artifact = make(store)
    assert artifact.path == store.root / "sft" / "k"
    assert (artifact.path / "deep" / "a.txt").read_text() == "hello"
    assert artifact.stats == {"steps": 3}
    assert artifact.seconds >= 0
    assert artifact.meta["files"]["deep/a.txt"]["size"] == 5
    assert everything(store.root) == ["sft/k/deep/a.txt", "sft/k/meta.json"]


def test_what_is_there_is_not_built_again(store: Store) -> None:
    first = make(store)
    with store.building("sft", "k") as build:
        assert build.artifact is not None
        assert build.path == first.path
    assert store.find("sft", "k") is not None


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failed_stage_leaves_nothing(store: Store, error: type[BaseException]) -> None:
    with pytest.raises(error), store.building("sft", "k") as build:
        (build.path / "a.txt").write_text("half")
        raise error
    assert store.find("sft", "k") is None
    assert everything(store.root) == []
    make(store)


def test_a_stage_goes_on_from_its_checkpoint(store: Store, warnings: list[str]) -> None:
    with pytest.raises(KeyboardInterrupt), store.building("ppo", "k") as build:
        (build.path / "half.txt").write_text("half")
        (build.path / "checkpoint").mkdir()
        (build.path / "checkpoint" / "step").write_text("40")
        time.sleep(0.05)
        raise KeyboardInterrupt
    with store.building("ppo", "k") as build:
        assert (build.path / "checkpoint" / "step").read_text() == "40"
        assert not (build.path / "half.txt").exists()
        (build.path / "a.txt").write_text("whole")
    artifact = store.find("ppo", "k")
    assert artifact is not None
    assert warnings == ["ppo: going on where an interrupted run stopped"]
    assert 0.05 <= artifact.seconds < 10  # what the interrupted attempt took counts, once
    assert everything(store.root) == ["ppo/k/a.txt", "ppo/k/meta.json"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda p: (p / "deep/a.txt").write_text("hellO"), "deep/a.txt has another checksum"),
        (lambda p: (p / "deep/a.txt").write_text("hell"), "deep/a.txt has 4 bytes, not 5"),
        (lambda p: (p / "deep/a.txt").unlink(), "deep/a.txt is missing"),
        (lambda p: (p / "meta.json").unlink(), "meta.json is missing"),
        (lambda p: (p / "meta.json").write_text("{"), "meta.json cannot be read"),
        (lambda p: (p / "meta.json").write_text("{}"), "meta.json is incomplete"),
        (
            lambda p: (p / "meta.json").write_text('{"seconds": "x", "stats": {}, "files": {}}'),
            "meta.json is incomplete",
        ),
        (
            lambda p: (p / "meta.json").write_text('{"seconds": 1, "stats": {}, "files": []}'),
            "meta.json is incomplete",
        ),
    ],
)
def test_a_damaged_artifact_is_moved_aside_and_made_again(
    store: Store, warnings: list[str], damage, said: str
) -> None:
    damage(make(store).path)
    again = Store(store.root, warn=warnings.append)
    assert again.find("sft", "k") is None
    assert len(warnings) == 1
    assert said in warnings[0]
    assert len(list((store.root / "corrupt").iterdir())) == 1  # nothing is deleted
    assert make(again).stats == {"steps": 3}


def test_a_second_builder_waits_and_finds_what_the_first_made(
    store: Store, warnings: list[str], monkeypatch
) -> None:
    monkeypatch.setattr(store_module, "_WAIT_QUIETLY_S", 0.05)
    inside, go_on = threading.Event(), threading.Event()

    def first() -> None:
        with Store(store.root).building("sft", "k") as build:
            (build.path / "a.txt").write_text("first")
            inside.set()
            go_on.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(10)
    threading.Timer(0.3, go_on.set).start()
    with store.building("sft", "k") as build:
        assert build.artifact is not None
        assert (build.path / "a.txt").read_text() == "first"
    thread.join()
    assert warnings == ["sft is being computed by another process; waiting for it"]


def test_what_another_machine_stored_unseen_is_kept(store: Store, tmp_path) -> None:
    theirs = make(Store(tmp_path / "elsewhere"), text="theirs")
    with store.building("sft", "k") as build:
        (build.path / "mine.txt").write_text("mine")
        shutil.copytree(theirs.path, store.root / "sft" / "k")
    assert everything(store.root) == ["sft/k/deep/a.txt", "sft/k/meta.json"]
    assert store.find("sft", "k") is not None


def in_subprocess(root: Path, body: str) -> subprocess.Popen[str]:
    code = textwrap.dedent(
        f"""
        import os, sys, time, resource
        from pathlib import Path
        from bench.pipeline.store import Store
        store = Store(Path({str(root)!r}))
        """
    ) + textwrap.dedent(body)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_a_killed_process_leaves_no_artifact_and_no_lock(store: Store) -> None:
    body = """
    with store.building("sft", "k") as build:
        (build.path / "checkpoint").mkdir()
        (build.path / "checkpoint" / "step").write_text("7")
        (build.path / "a.txt").write_text("half")
        print("inside", flush=True)
        time.sleep(60)
    """
    process = in_subprocess(store.root, body)
    assert process.stdout is not None
    assert process.stdout.readline() == "inside\n"
    process.kill()
    process.wait()
    process.stdout.close()
    assert store.find("sft", "k") is None
    with store.building("sft", "k") as build:
        assert build.artifact is None
        assert (build.path / "checkpoint" / "step").read_text() == "7"
        assert not (build.path / "a.txt").exists()
    assert store.find("sft", "k") is not None


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_the_seconds_of_killed_attempts_count(store: Store) -> None:
    """Two attempts of half a second and more are killed, the last one ends at once."""
    body = """
    import bench.pipeline.store
    bench.pipeline.store._NOTE_EVERY_S = 0.02
    with store.building("ppo", "k") as build:
        (build.path / "checkpoint").mkdir(exist_ok=True)
        time.sleep(0.5)
        print("inside", flush=True)
        time.sleep(60)
    """
    for _ in range(2):
        process = in_subprocess(store.root, body)
        assert process.stdout is not None
        assert process.stdout.readline() == "inside\n"
        process.kill()
        process.wait()
        process.stdout.close()
    with store.building("ppo", "k"):
        pass
    artifact = store.find("ppo", "k")
    assert artifact is not None
    assert 0.9 < artifact.seconds < 30
    assert everything(store.root) == ["ppo/k/meta.json"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_FSIZE")
def test_a_full_disk_is_one_line_and_keeps_what_is_finished(store: Store) -> None:
    make(store, key="old")
    body = """
    from bench.errors import UserError
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    try:
        with store.building("sft", "k") as build:
            (build.path / "a.bin").write_bytes(b"x" * 100_000)
    except UserError as error:
        print(error.exit_code, error)
    """
    said, _ = in_subprocess(store.root, body).communicate(timeout=60)
    assert said.startswith(f"1 no space left for the store {store.root}; what is finished is kept")
    assert "--store DIR or BENCH_STORE" in said
    assert store.find("sft", "old") is not None
    assert store.find("sft", "k") is None
    assert not list((store.root / "partial").iterdir())


TORCH_SAVE = "[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_FSIZE")
@pytest.mark.parametrize("earlier", [True, False])
def test_a_disk_that_fills_up_at_a_checkpoint_keeps_the_one_before(
    store: Store, warnings: list[str], earlier: bool
) -> None:
    """torch.save raises a RuntimeError of its own; what else the stage wrote goes at once."""
    body = f"""
    import torch
    from bench.errors import UserError
    from bench.training.checkpoints import Checkpoints
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    try:
        with store.building("sft", "k") as build:
            checkpoints = Checkpoints(build.path, print)
            if {earlier}:
                checkpoints.write({{"step": 1}})
            (build.path / "a.bin").write_bytes(b"x" * 10_000)
            checkpoints.write({{"step": 2, "weights": torch.zeros(100_000)}})
    except UserError as error:
        print(error.exit_code, error)
    """
    said, _ = in_subprocess(store.root, body).communicate(timeout=120)
    assert said.count("\n") == 1
    assert said.startswith(f"1 no space left for the store {store.root}; what is finished is kept")
    kept = ["partial/sft-k/checkpoint/seconds", "partial/sft-k/checkpoint/state.pt"]
    assert everything(store.root) == (kept if earlier else [])
    with store.building("sft", "k") as build:
        assert Checkpoints(build.path, print).read() == ({"step": 1} if earlier else None)
    assert len(warnings) == earlier


def test_a_full_disk_leaves_no_half_written_seconds(store: Store, monkeypatch) -> None:
    with pytest.raises(KeyboardInterrupt), store.building("ppo", "k") as build:
        (build.path / "checkpoint").mkdir()
        (build.path / "checkpoint" / "step").write_text("40")

        def full(path: Path, text: str) -> None:
            path.touch()
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_text", full)
        raise KeyboardInterrupt
    monkeypatch.undo()
    left = everything(store.root)
    assert "partial/ppo-k/checkpoint/step" in left
    assert not [name for name in left if name.endswith(".tmp")]


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("io: os error 28"),
        RuntimeError(TORCH_SAVE),
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
    ],
)
def test_a_disk_that_fills_up_at_the_metadata_keeps_the_checkpoint(
    store: Store, monkeypatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(store_module, "_write_synced", fail)
    with pytest.raises(UserError, match="no space left"), store.building("ppo", "k") as build:
        (build.path / "checkpoint").mkdir()
        (build.path / "checkpoint" / "step").write_text("99")
    monkeypatch.undo()
    with store.building("ppo", "k") as build:
        assert (build.path / "checkpoint" / "step").read_text() == "99"


def test_an_unwritable_store_is_one_line(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    places = [tmp_path / "file" / "store"]
    if sys.platform == "linux":
        places.append(Path("/proc/grainbench"))
    for place in places:
        with pytest.raises(UserError, match=f"cannot write to the store {place}") as error:
            make(Store(place))
        assert error.value.exit_code == 1


def test_other_errors_are_left_alone(store: Store) -> None:
    with pytest.raises(FileNotFoundError), store.building("sft", "k"):
        Path("/nowhere/at/all").read_text()
    with pytest.raises(PermissionError), store.building("sft", "k"):
        raise PermissionError(13, "Permission denied", "/elsewhere")


def test_the_place_comes_from_the_environment(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("BENCH_STORE", str(tmp_path))
    assert default_root() == tmp_path
    monkeypatch.delenv("BENCH_STORE")
    assert default_root().name == "grainbench"
    assert os.fspath(Store().root) == os.fspath(default_root().absolute())


def test_two_readers_of_one_damaged_artifact_move_it_once(store: Store) -> None:
    (make(store).path / "deep" / "a.txt").write_text("hellO")
    said: list[str] = []
    readers = [Store(store.root, warn=said.append) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda reader: reader.find("sft", "k"), readers))
    assert found == [None] * 4
    assert len(said) == 1
