"""What a part of the configuration, and a plug-in's own options, are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

LARGEST = 2**31 - 1  # of any count or size
_NUMBERS = {int, float}

OPERATIONAL = frozenset(
    {"concurrency", "max_retries", "timeout_s", "deadline_s", "poll_s", "retry"}
    | {"max_usd", "prices", "api_key_env"}
    | {"token_limit"}  # another name for the same limit
)
"""Options of judges and editors that say how a model is asked, and for what money.

No answer depends on them, so they make no other row and no other key.
"""


class Section(BaseModel):
    """A part of the configuration: unknown fields are errors, values do not change.

    Attributes:
        renamed: what fields were once called, each with what to write now, and its section where
            that is another one (as "edits.source"); a message says so.
        operational: fields that decide no number, and so are in no stage's key whatever they say.
        later: fields that came after results were published. At their defaults they are in no
            stage's key, so that the key holds what it held before there were such fields.
    """

    renamed: ClassVar[Mapping[str, str]] = {}
    later: ClassVar[frozenset[str]] = frozenset()
    operational: ClassVar[frozenset[str]] = frozenset()
    # A NaN or an infinity trains for hours and can be written into no record.
    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false where a number is meant; Python would take them for 1 and 0."""
        if isinstance(value, bool) and info.field_name is not None:
            kind = cls.model_fields[info.field_name].annotation
            if kind in _NUMBERS or (set(get_args(kind)) & _NUMBERS and bool not in get_args(kind)):
                raise ValueError("true and false are no numbers")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _can_be_counted(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse counts that no run could get through; a seed is no count."""
        is_count = isinstance(value, int) and not str(info.field_name).endswith("seed")
        if is_count and abs(value) > LARGEST:
            raise ValueError(f"at most {LARGEST}")
        return value

    def result_fields(self) -> dict[str, Any]:
        """The values that a result depends on, for a stage's key; all, unless a section says so."""
        fields = type(self).model_fields
        usual = {name for name in self.later if getattr(self, name) == fields[name].default}
        return self.model_dump(exclude=usual | self.operational)


class NoOptions(Section):
    """Of a plug-in that has none of its own."""
