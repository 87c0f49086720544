"""The presets' files: they load, every value names its source, the docs say what they say."""

import re

import pytest
import yaml

from bench.config.loading import load_config
from bench.config.presets import FOLDER, preset_names
from tests.presets import PRESETS

DOCS = FOLDER.parents[2] / "docs" / "training.md"
SECTIONS = ("reward_model", "ppo", "offline")


def lines(preset: str) -> list[str]:
    return (FOLDER / f"{preset}.yaml").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("preset", PRESETS)
def test_it_loads_with_the_default_suite(preset: str) -> None:
    config = load_config(preset, method="ppo_rlhf")
    assert (config.preset, config.suite, config.method) == (preset, "testbed", "ppo_rlhf")
    assert config.ppo.batch_size % config.ppo.minibatch_size == 0


@pytest.mark.parametrize("preset", PRESETS)
def test_every_value_names_one_of_the_sources_listed_above_it(preset: str) -> None:
    header = [line for line in lines(preset) if line.startswith("#")]
    listed = {match[1] for line in header if (match := re.match(r"#   (\S+)  +\S", line))}
    named = set()
    for line in lines(preset):
        if line.startswith("  "):
            match = re.fullmatch(r"  (\w+): (\S+) +# ([\w.]+): (\S.*)", line)
            assert match, f"{preset}: no `# source: place` behind {line!r}"
            assert match[3] in listed, f"{preset}: {match[3]} is not among {sorted(listed)}"
            named.add(match[3])
    assert named == listed, "a source is listed that nothing comes from"


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_left_out_is_said(preset: str) -> None:
    text = "\n".join(lines(preset))
    assert "# Left to the defaults: suite, model, adapters, steps, prompts" in text
    assert "# Not reproduced:\n#   - " in text


def rows(header: str) -> list[list[str]]:
    """Cells of the docs' table whose first cell of the first row is `header`."""
    text = DOCS.read_text(encoding="utf-8")
    block = text[text.index(f"| {header} |") :].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in block.splitlines()]


def set_by(preset: str) -> set[str]:
    """Paths of the fields that the preset's file gives a value."""
    values = yaml.safe_load("\n".join(lines(preset)))
    sections = {name: keys for name, keys in values.items() if isinstance(keys, dict)}
    return {f"{section}.{key}" for section, keys in sections.items() for key in keys}


def written(value: object) -> str:
    """A value as the table shows it."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_the_docs_table_has_the_presets_own_values() -> None:
    names, _, *table = rows("field")
    assert names == ["field", *PRESETS, "testbed"]
    configs = {name: load_config(name) for name in names[1:]}
    own = {name: set_by(name) for name in names[1:]}
    for path, *cells in table:
        section, field = path.strip("`").split(".")
        for name, cell in zip(names[1:], cells, strict=True):
            value = written(getattr(getattr(configs[name], section), field))
            sourced = name == "testbed" or f"{section}.{field}" in own[name]
            assert cell == (value if sourced else f"({value})"), f"{name}: {path}"


def test_the_docs_table_has_every_field_that_a_preset_sets() -> None:
    shown = {row[0].strip("`") for row in rows("field")[2:]}
    for preset in PRESETS:
        assert set_by(preset) <= shown


def test_the_docs_name_every_preset_and_option() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert set(PRESETS) <= set(preset_names())
    for section in SECTIONS:
        for field in type(getattr(load_config(), section)).model_fields:
            assert f"`{section}.{field}`" in text, f"docs/training.md lacks {section}.{field}"
