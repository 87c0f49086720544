"""Documents: their shapes, their schemas, and the page that lists their fields."""

import json
import math
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.stats import VarianceComponents
from leaderboard.analysis.power import Design, Plan, Spread
from leaderboard.views import schemas
from leaderboard.views.json import document, version_of
from leaderboard.views.shapes import DOCUMENTS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_another_shape_is_another_version(name: str) -> None:
    file = DOCS / "schemas" / schemas.file_name(name)
    assert file.exists(), "write it: python -m leaderboard.views.schemas docs"
    committed = json.loads(file.read_text())
    assert schemas.shape(committed) == schemas.shape(schemas.schema(name)), (
        f"{name} has another shape than version {version_of(name)} had: count up its version in "
        "leaderboard/views/shapes.py, then python -m leaderboard.views.schemas docs"
    )


def test_schemas_and_the_page_say_what_the_models_say() -> None:
    for name in DOCUMENTS:
        file = DOCS / "schemas" / schemas.file_name(name)
        assert json.loads(file.read_text()) == schemas.schema(name)
    page = (DOCS / "json.md").read_text(encoding="utf-8")
    assert page.partition(schemas.MARK)[2].strip() == schemas.tables().strip()


def test_a_version_keeps_its_shape(tmp_path: Path) -> None:
    page = tmp_path / "json.md"
    page.write_text(f"# JSON\n{schemas.MARK}old\n")
    schemas.write(tmp_path)
    assert page.read_text().startswith(f"# JSON\n{schemas.MARK}\n### Leaderboard")
    file = tmp_path / "schemas" / schemas.file_name("list")
    body = json.loads(file.read_text())
    body["$defs"]["Plugin"]["description"] = "other words"
    file.write_text(json.dumps(body))
    schemas.write(tmp_path)  # words are no shape
    assert json.loads(file.read_text()) == schemas.schema("list")
    del body["$defs"]["Plugin"]["properties"]["paper"]
    file.write_text(json.dumps(body))
    with pytest.raises(UserError, match="list has another shape now: count up its version"):
        schemas.write(tmp_path)


def test_a_field_called_title_is_part_of_the_shape() -> None:
    part = {"title": "T", "properties": {"title": {"type": "string", "title": "x"}}}
    assert schemas.shape(part) == {"properties": {"title": {"type": "string"}}}


def plan(needed_seeds: float | None, needed_instructions: float) -> Plan:
    spread = Spread("win_rate", "é", VarianceComponents(0.1, 0.2, 0.3), {"seed": "given"}, (5, 9))
    return Plan(spread, 1 / 3, Design(5, 9), {(5, 9): math.nan}, needed_seeds, needed_instructions)


def test_numbers_are_whole_or_null_and_letters_ascii() -> None:
    text = document("power", plan(None, math.inf))
    assert text.isascii()
    body = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert [*body] == ["schema", "version", "grainbench", "data"]
    assert body["schema"] == "grainbench/power"
    data = body["data"]
    assert data["difference"] == 1 / 3
    assert data["spread"]["what"] == "é"
    assert data["power"] == [{"seeds": 5, "instructions": 9, "power": None}]
    assert data["needed_seeds"] == {"number": None, "possible": None}
    assert data["needed_instructions"] == {"number": None, "possible": False}
    known = json.loads(document("power", plan(12.0, 800.0)))["data"]
    assert known["needed_seeds"] == {"number": 12, "possible": True}
