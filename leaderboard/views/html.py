"""Grids as one HTML page that needs no other file, for a mail or a report."""

from collections.abc import Sequence

from bench.grid import Grid

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
h2 { font-size: 1rem; margin: 0 0 .3rem; }
th, td { border-bottom: 1px solid #8888; padding: .3rem .8rem .3rem 0; text-align: right; }
td { white-space: nowrap; }
th:first-child { text-align: left; }
p { margin: .4rem 0; max-width: 60rem; }
.warning { border-left: .3rem solid #c60; padding-left: .6rem; }
section { margin-bottom: 2rem; }
</style>
</head>
<body>
<main>
<h1>{{ title }}</h1>
{% for grid in grids %}
<section>
<h2 id="table-{{ loop.index }}">{{ grid.title }}</h2>
{% for line in grid.warnings %}
<p class="warning"><strong>Warning:</strong> {{ line }}</p>
{% endfor %}
{% if grid.headers %}
<div class="scroll" role="region" tabindex="0" aria-labelledby="table-{{ loop.index }}">
<table aria-labelledby="table-{{ loop.index }}">
<thead>
<tr>{% for header in grid.headers %}<th scope="col">{{ header }}</th>{% endfor %}</tr>
</thead>
<tbody>
{% for row in grid.rows %}
<tr><th scope="row">{{ row[0] }}</th>{% for cell in row[1:] %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
</div>
{% endif %}
{% for line in grid.notes %}
<p>{{ line }}</p>
{% endfor %}
</section>
{% endfor %}
</main>
</body>
</html>
"""


def to_html(title: str, grids: Sequence[Grid]) -> str:
    """A page with all grids below each other, every text escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_PAGE).render(title=title, grids=grids) + "\n"
