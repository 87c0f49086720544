"""What tokens cost: a dated table, and None for what it does not say."""

from __future__ import annotations

import datetime
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from bench.config.section import Section
from bench.errors import UserError, yaml_problem
from bench.llm.answers import Usage

_MILLION = 1e6


class Price(Section):
    """US dollars per million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cache_read: float | None = Field(None, ge=0)
    cache_write: float | None = Field(None, ge=0)
    max_input_tokens: int | None = Field(None, ge=1)
    min_cache_tokens: int | None = Field(None, ge=1)

    @property
    def caches_from(self) -> int | None:
        """Fewest tokens that are cached; None where that, or what it costs, is not known."""
        known = self.cache_read is not None and self.cache_write is not None
        return self.min_cache_tokens if known else None


class Prices(Section):
    """A table of prices and the day it was true."""

    date: datetime.date
    source: str = ""
    batch_factor: float = Field(0.5, gt=0, le=1)
    models: dict[str, Price]

    @classmethod
    def load(cls, path: str | None = None) -> Prices:
        """Read a table; None is the one that comes with the harness.

        Raises:
            UserError: naming file and field of what is wrong.
        """
        file = Path(path) if path else None
        name = path or "bench/llm/money/prices.yaml"
        try:
            text = (file or resources.files("bench.llm.money") / "prices.yaml").read_text("utf-8")
            return cls.model_validate(yaml.safe_load(text))
        except OSError as error:
            raise UserError(f"cannot read the prices in {name}: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"{name} is not YAML: {yaml_problem(error)}") from error
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "the file"
            raise UserError(f"{name}, {field}: {first['msg']}") from error

    def of(self, model: str) -> Price | None:
        """The price of a model, also under a dated name such as MODEL-20261007."""
        if model in self.models:
            return self.models[model]
        base, _, suffix = model.rpartition("-")
        return self.models.get(base) if suffix.isdigit() and len(suffix) == 8 else None

    def cost(self, model: str, usage: Usage, *, batch: bool = False) -> float | None:
        """US dollars of an answer; None where the price is not known, never 0."""
        price = self.of(model)
        if price is None:
            return None
        prompt = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
        if price.max_input_tokens is not None and prompt > price.max_input_tokens:
            return None
        parts: list[tuple[int, float | None]] = [
            (usage.input_tokens, price.input),
            (usage.output_tokens, price.output),
            (usage.cache_read_tokens, price.cache_read),
            (usage.cache_write_tokens, price.cache_write),
        ]
        if any(tokens and rate is None for tokens, rate in parts):
            return None
        total = sum(tokens * rate for tokens, rate in parts if rate is not None) / _MILLION
        return total * (self.batch_factor if batch else 1.0)

    def about(self) -> dict[str, Any]:
        """For a record: where prices come from."""
        return {"date": self.date.isoformat(), "source": self.source}


def dollars(usd: float | None) -> str:
    """A price for people: what is small is not called nothing."""
    if usd is None:
        return "unknown, the model is not in the table of prices"
    return "under $0.01" if 0 < usd < 0.01 else f"${usd:,.2f}"
