"""Where the public files are that some tests use: they are not part of the project."""

from pathlib import Path

import pytest

SHARED = Path("../shared/data")
LONG_REFERENCE = SHARED / "alpaca_eval/davinci003_reference_AE1_482char.jsonl.gz"
SHORT_REFERENCE = SHARED / "alpaca_eval/text_davinci_003_model_outputs_308char.json.gz"
ANNOTATIONS = {
    name: SHARED / f"alpaca_eval/{name}__alpaca_eval_gpt4.json.gz"
    for name in ("alpaca-7b", "text_davinci_001")
}

needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"{SHARED} with AlpacaEval's public annotations is not here"
)
