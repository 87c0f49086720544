"""What a plan knows of the device without torch is what torch says of it."""

from pathlib import Path

import pytest

from bench.config.run import ModelConfig
from bench.errors import UserError
from bench.models import devices


@pytest.mark.parametrize("name", ["auto", "cpu"])
@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16"])
def test_the_names_are_those_of_what_is_picked(name: str, dtype: str) -> None:
    device = devices.pick_device(name)
    assert devices.device_type(name) == device.type
    named = devices.dtype_name(ModelConfig(device=name, dtype=dtype))
    assert f"torch.{named}" == str(devices.pick_dtype(dtype, device))


def test_a_device_that_is_not_there_is_refused_by_its_name() -> None:
    with pytest.raises(UserError, match=r"model\.device: nosuch is not usable here"):
        devices.device_type("nosuch")


@pytest.mark.parametrize(
    ("file", "may"), [("nvidiactl", True), ("kfd", True), ("dxg", True), ("nvme0", False)]
)
def test_torch_is_asked_where_there_may_be_a_gpu(
    file: str, may: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    (tmp_path / file).touch()
    assert devices._may_have_gpu(tmp_path) is may
