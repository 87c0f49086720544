"""Pages: every value escaped, and a policy that lets no page load or send anything."""

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from bench.grid import Grid
from leaderboard.views.glossary import paper_address

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"


STYLES = ("site.css", "tables.css", "charts.css", "samples.css")


def renderer() -> Callable[..., str]:
    """``render(template, **values)``; style, scripts and policy are globals of the templates."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # These files are ours and are written into each page, so that their hashes can be allowed:
    # under file:// a page has no origin of which 'self' could speak alike in all browsers.
    environment.globals.update(style=_joined(STYLES), script_of=_script, policy=policy)
    environment.filters.update(breakable=breakable, address=paper_address)

    def render(template: str, **values: Any) -> str:
        return environment.get_template(template).render(**values)

    return render


def _script(names: Sequence[str]) -> Markup:
    return _joined(f"{name}.js" for name in names)


def _joined(names: Iterable[str]) -> Markup:
    return Markup("\n").join(Markup((TEMPLATES / name).read_text("utf-8")) for name in names)


def to_html(title: str, grids: Sequence[Grid]) -> str:
    """One page with all grids below each other that needs no other file, for a mail or a report."""
    return renderer()("tables.html", title=title, grids=grids) + "\n"


def breakable(label: str) -> Markup:
    """The label's words, each kept whole where it fits; a longer one may break at a sign."""
    words = [re.sub("([=_,])", r"\1<wbr>", str(escape(word))) for word in label.split(" ")]
    return Markup(" ".join(f'<span class="word">{word}</span>' for word in words))


def policy(style: str, script: str) -> str:
    """The content security policy of a page with exactly this inline style and script."""
    return (
        f"default-src 'none'; img-src 'self' file:; style-src {_source(style)}; "
        f"script-src {_source(script)}; base-uri 'none'; form-action 'none'"
    )


def _source(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
