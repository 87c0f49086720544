"""JSON Schemas of what `--format json` prints, and the field tables of docs/json.md.

    python -m leaderboard.views.schemas docs

writes docs/schemas/NAME-VERSION.json and what stands below `MARK` in docs/json.md. A version
has one shape for ever: another is refused until the version in `shapes.py` is counted up.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.files import write_atomically
from leaderboard.views import shapes
from leaderboard.views.json import version_of

MARK = "<!-- Below: made by `python -m leaderboard.views.schemas docs`. -->\n"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema of a document."""
    made = shapes.DOCUMENTS[name].model_json_schema(mode="serialization")
    return {"$schema": _DIALECT} | made | {"title": f"bench {name} --format json"}


def file_name(name: str) -> str:
    """Of a document's schema: another version is another file."""
    return f"{name}-{version_of(name)}.json"


def tables() -> str:
    """Every shape's fields as Markdown: name, type, meaning."""
    parts = []
    for name, document in shapes.DOCUMENTS.items():
        data = str(getattr(document.model_fields["data"].annotation, "__name__", ""))
        whole = schema(name)["$defs"]
        own = [data, *(key for key in whole if key != data)]
        for key in own:
            model = getattr(shapes, key, None)
            if model is not None and model.__module__ == shapes.__name__:
                parts.append(_table(key, whole[key]))
    return "\n".join(dict.fromkeys(parts))


def write(docs: Path) -> None:
    """Write the schemas, and the tables of json.md.

    Raises:
        UserError: a document has another shape, and the version that it had.
    """
    for name in shapes.DOCUMENTS:
        file = docs / "schemas" / file_name(name)
        if file.exists() and shape(json.loads(file.read_text())) != shape(schema(name)):
            raise UserError(f"{file}: {name} has another shape now: count up its version")
        write_atomically(file, json.dumps(schema(name), indent=1) + "\n")
    page = docs / "json.md"
    before, _, _ = page.read_text(encoding="utf-8").partition(MARK)
    write_atomically(page, before + MARK + "\n" + tables())


def shape(part: Any) -> Any:
    """A schema without its words: what must not change within a version."""
    if isinstance(part, dict):
        words = {name for name in ("title", "description") if isinstance(part.get(name), str)}
        return {name: shape(value) for name, value in part.items() if name not in words}
    return [shape(one) for one in part] if isinstance(part, list) else part


def _table(name: str, part: dict[str, Any]) -> str:
    lines = [f"### {name}", "", part["description"], "", "| field | type | |", "|---|---|---|"]
    for field, about in part["properties"].items():
        meaning = about.get("description", "").replace("|", "\\|")
        lines.append(f"| `{field}` | {_type(about)} | {meaning} |")
    return "\n".join(lines) + "\n"


def _type(about: dict[str, Any]) -> str:
    """A JSON Schema in words: "list of Row", "number or null"."""
    match about:
        case {"$ref": reference}:
            text = reference.rpartition("/")[2]
        case {"anyOf": kinds}:
            text = " or ".join(map(_type, kinds))
        case {"enum": choices}:
            text = ", ".join(map(json.dumps, choices))
        case {"prefixItems": parts}:
            text = f"[{', '.join(map(_type, parts))}]"
        case {"items": items}:
            text = f"list of {_type(items)}"
        case {"additionalProperties": dict() as values}:
            text = f"object of {_type(values)}"
        case _:
            text = about.get("type", "any")
    return str(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
