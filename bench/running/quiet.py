"""While a run lasts: what torch and transformers read from the environment, and their silence."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_NOISY = r"(torch|transformers|peft|accelerate|huggingface_hub|datasets)(\..*)?"
_VARIABLES = {
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",  # bars of loading, and of a GGUF file's conversion
    "TOKENIZERS_PARALLELISM": "false",
    # libgomp's threads wait for each other by spinning, at every layer, for milliseconds. Beside
    # other work one of them has no core just then, and the others spin their own away: a run took
    # over twenty times as long. So many turns cost nothing where the cores are free.
    "GOMP_SPINCOUNT": "3000",
}


@contextmanager
def libraries_quiet() -> Iterator[None]:
    """Set the libraries' variables, which they read when they are imported, and drop warnings.

    What users set themselves stays; what was set here is taken back.
    """
    imported: Any = sys.modules.get("transformers.utils.logging")
    hushed = imported is not None and imported.is_progress_bar_enabled()
    if hushed:  # it has read its variables
        imported.disable_progress_bar()
    own = {name: value for name, value in _VARIABLES.items() if name not in os.environ}
    if "OMP_WAIT_POLICY" in os.environ:  # which the other would override
        own.pop("GOMP_SPINCOUNT", None)
    os.environ |= own
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                for category in (FutureWarning, UserWarning, DeprecationWarning):
                    warnings.filterwarnings("ignore", category=category, module=_NOISY)
                warnings.filterwarnings("ignore", module=r"tqdm(\..*)?")  # no widgets: no matter
            yield
    finally:
        for name in own:
            os.environ.pop(name, None)
        if hushed:
            imported.enable_progress_bar()
