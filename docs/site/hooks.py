"""The site has the repository's own tree, so that a relative link means the same in both.

MkDocs reads one folder; what is shown here lies in several, and README.md, the front page, above
them all. A link to a file that is not among `SHOWN` is one that the strict build refuses.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig

ROOT = Path(__file__).parents[2]
SHOWN = (
    "*.md", "CITATION.cff", "LICENSE", "constraints.txt", "benchmarks/**/*.md",
    "docs/*.*", "docs/figures/*", "docs/docker/*", "docs/recipes/*", "docs/site/*.css",
)  # fmt: skip
PAGE = "---\ntitle: {0}\n---\n\n::: {0}\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Take the files that are shown, a page for each module of the reference, and the theme's."""
    theme = [file for file in files if not file.src_path or file.src_dir != config.docs_dir]
    paths = sorted({path for shown in SHOWN for path in ROOT.glob(shown) if path.is_file()})
    names = [path.relative_to(ROOT).as_posix() for path in paths]
    shown = [File(name, str(ROOT), config.site_dir, config.use_directory_urls) for name in names]
    reference = [
        File.generated(config, f"reference/{module}.md", content=PAGE.format(module))
        for module in config.extra["reference"]
    ]
    return Files([*shown, *reference, *theme])
