import re
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.llm import LLMOptions, Usage
from bench.llm.money.prices import Prices

TABLE = """
date: 2026-01-02
source: a page
batch_factor: 0.5
models:
  cheap: {input: 1.0, output: 5.0, cache_read: 0.1, cache_write: 1.25, max_input_tokens: 1000}
  bare: {input: 2, output: 3}
"""


@pytest.fixture
def prices(tmp_path: Path) -> Prices:
    (tmp_path / "prices.yaml").write_text(TABLE)
    return Prices.load(str(tmp_path / "prices.yaml"))


def test_cost_by_hand(prices: Prices) -> None:
    usage = Usage(input_tokens=100, output_tokens=20, cache_read_tokens=300, cache_write_tokens=40)
    # 100 x 1 + 20 x 5 + 300 x 0.1 + 40 x 1.25 = 280 dollars a million
    assert prices.cost("cheap", usage) == pytest.approx(280e-6)
    assert prices.cost("cheap", usage, batch=True) == pytest.approx(140e-6)
    assert prices.cost("cheap-20260102", usage) == pytest.approx(280e-6)
    assert prices.cost("cheap", Usage()) == 0.0


@pytest.mark.parametrize("model", ["dear", "cheap-2026", "cheap-mini", "cheap-2026010x", ""])
def test_an_unknown_price_is_none_and_never_zero(prices: Prices, model: str) -> None:
    assert prices.cost(model, Usage(input_tokens=1)) is None


def test_what_the_table_does_not_say_is_none(prices: Prices) -> None:
    assert prices.cost("bare", Usage(input_tokens=10, output_tokens=1)) == pytest.approx(23e-6)
    assert prices.cost("bare", Usage(input_tokens=10, cache_read_tokens=1)) is None
    assert prices.cost("cheap", Usage(input_tokens=1000)) is not None
    assert prices.cost("cheap", Usage(input_tokens=900, cache_read_tokens=101)) is None


def test_the_table_that_comes_with_the_harness() -> None:
    prices = Prices.load()
    assert prices.of(LLMOptions().model) is not None
    assert prices.of("claude-haiku-5-5") is not None
    assert prices.about() == {"date": prices.date.isoformat(), "source": prices.source}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("input: 2", "input: -2", "models.bare.input"),
        ("output: 3", "outputs: 3", "models.bare.output"),
        ("date: 2026-01-02", "date: soon", "date"),
        ("models:", "models: [", "is not YAML"),
    ],
)
def test_a_wrong_table_names_file_and_field(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(TABLE.replace(old, new))
    with pytest.raises(UserError, match=f"{re.escape(str(path))}.*{said}"):
        Prices.load(str(path))


def test_a_table_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"cannot read the prices in nowhere.yaml: No such file"):
        Prices.load("nowhere.yaml")
