"""AlpacaEval's own length-controlled win rate (arXiv:2404.04475), by alpaca_eval's own fit.

alpaca_eval fits ``logit P(model wins) = a tanh(d_i) + b difficulty_i + c`` by cross-validated L1
logistic regression, d_i being the standardised difference in length, with the verdicts on two
gamed baselines beside the model's, and takes the mean of the fitted P at d = 0. The baselines'
verdicts and the instructions' difficulties are data that its package does not carry:
`df_gamed.csv` and `instruction_difficulty.csv` of the data set tatsu-lab/alpaca_eval on the hub.

Differences from `alpaca_eval.metrics.get_length_controlled_winrate`, which reads the difficulty by
a row's place in the annotations: here it is read by the instruction, so that the order of a file
does not matter. Nothing is written (its default writes weights into the installed package).
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from bench import hub
from bench.errors import UserError
from bench.files import content_sha
from bench.judging.quiet import quiet_import
from bench.stats import Estimate
from bench.tables import shortened

REPO = hub.HubRepo(
    "tatsu-lab/alpaca_eval", kind="dataset", files=("df_gamed.csv", "instruction_difficulty.csv")
)
HUB = "hub"
GLM = "length_controlled_v1"
_GAMED, _DIFFICULTY = REPO.files
_COLUMNS = ("preference", "index", "std_delta_len", "instruction_difficulty", "not_gamed_baseline")
_DIGITS = 8
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class LengthControlled(Estimate):
    """AlpacaEval's length-controlled win rate.

    Attributes:
        standard_error: as alpaca_eval gives it, the spread of the fitted chances over instructions;
            it holds no spread of the fit, so that no interval is made of it.
        extreme: whether alpaca_eval would warn that it is too far from the raw one.
        glm: the name of the model that was fitted.
        version: of alpaca_eval.
        data_sha: SHA-256 of df_gamed.csv, in hex.
    """

    extreme: bool
    glm: str
    version: str
    data_sha: str


class LengthControl:
    """The data of the fit.

    Args:
        where: a folder with df_gamed.csv in it, and perhaps instruction_difficulty.csv; or "hub".

    Raises:
        UserError: they are not there, or are no such files.
    """

    def __init__(self, where: str) -> None:
        import pandas as pd

        path = hub.fetched(REPO, _GAMED) if where == HUB else Path(where) / _GAMED
        self.sha = content_sha(path)
        try:
            gamed: Any = pd.read_csv(path)
        except (ValueError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is no CSV file: {error}") from error
        if lacking := [name for name in _COLUMNS if name not in gamed.columns]:
            raise UserError(
                f"{path} has no column {lacking[0]}: it is not the {_GAMED} of {REPO.name}"
            )
        self._gamed = gamed.loc[:, list(_COLUMNS)]
        self._difficulty = gamed.drop_duplicates("index").set_index("index")[_COLUMNS[3]]
        other = path.with_name(_DIFFICULTY)
        if other.is_file():
            self._require_same_difficulty(other)

    def win_rate(
        self,
        prompts: Sequence[str],
        preferences: Sequence[float | None],
        lengths_model: Sequence[float],
        lengths_reference: Sequence[float],
    ) -> LengthControlled:
        """Fit one model's verdicts.

        Args:
            prompts: (N,) instructions, all of AlpacaEval's.
            preferences: (N,) 1 to 2, None where there is none.
            lengths_model: (N,) characters.
            lengths_reference: (N,) likewise.

        Raises:
            ValueError: an instruction is not one of AlpacaEval's, the lengths differ by the same
                everywhere, or nothing can be fitted.
        """
        import numpy as np
        import pandas as pd

        glm = quiet_import("alpaca_eval.metrics.glm_winrate")
        shorter = pd.Series(lengths_reference, dtype=float) - pd.Series(lengths_model, dtype=float)
        if not shorter.std() > 0:
            raise ValueError("all lengths differ by the same: there is nothing to control for")
        index = _indices(prompts)
        if unknown := sorted(set(index) - set(self._difficulty.index)):
            raise ValueError(f"{_GAMED} has no instruction of index {unknown[0]}")
        own: Any = pd.DataFrame(
            {
                "preference": np.array(preferences, dtype=float) - 1,
                "index": index,
                "std_delta_len": shorter / shorter.std(),
                "instruction_difficulty": self._difficulty.loc[index].to_numpy(),
                "not_gamed_baseline": True,
            }
        )
        # Folds of the cross-validation go by the order of the rows: AlpacaEval's, in any file.
        fitted = self._fitted(glm, own.sort_values("index", ignore_index=True))
        raw = 100 * own["preference"].mean()
        return LengthControlled(
            mean=float(fitted.mean()),
            standard_error=float(fitted.std(ddof=1) / np.sqrt(len(fitted))),
            ci95=None,
            n=len(fitted),
            missing=int(own["preference"].isna().sum()),
            extreme=bool(glm.get_is_extreme_changes(raw, 100 * fitted.mean())),
            glm=GLM,
            version=metadata.version("alpaca_eval"),
            data_sha=self.sha,
        )

    def _fitted(self, glm: Any, own: Any) -> Any:
        """(N,) chances to win at equal length: the steps of alpaca_eval, by its functions."""
        import pandas as pd
        import sklearn

        info = glm.GLM_INFO[GLM]
        both: Any = pd.concat([self._gamed, own], axis=0)
        train, test = glm.make_dmatrix_for_model(
            both, own.assign(std_delta_len=0), formula=info["formula"]
        )
        is_own = both["not_gamed_baseline"].astype(bool)
        # Halved by alpaca_eval, for there are two gamed baselines.
        weight = is_own.astype(float) + info["regularize_to_baseline_lambda"] * (~is_own) / 2
        known = train["preference"].notna()
        # The fit changes scikit-learn's settings for good, and uses what it calls deprecated.
        with sklearn.config_context(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = glm.fit_LogisticRegressionCV(
                train[known],
                "preference",
                is_ytrue_proba=True,
                sample_weight=weight[known],
                **info["kwargs"],
            )
            return model.predict_proba(test)[:, 1]

    def _require_same_difficulty(self, path: Path) -> None:
        """Refuse files of different releases; alpaca_eval needs the second for other baselines."""
        import pandas as pd

        try:
            other: Any = pd.read_csv(path, index_col=0).squeeze()
            apart = (other - self._difficulty).abs().max()
        except (ValueError, TypeError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is no CSV file of difficulties: {error}") from error
        if not apart <= _TOLERANCE:
            raise UserError(f"{path} has other difficulties than {_GAMED} beside it: fetch both")


@cache
def _order() -> dict[str, int]:
    """The place of each of AlpacaEval's 805 instructions, by the beginning of its SHA-256."""
    text = (resources.files("bench.judging") / "alpaca_eval_order.json").read_text("utf-8")
    return {digest: place for place, digest in enumerate(json.loads(text))}


def _indices(prompts: Sequence[str]) -> list[int]:
    digests = [hashlib.sha256(prompt.encode()).hexdigest()[:_DIGITS] for prompt in prompts]
    order = _order()
    foreign = [p for p, digest in zip(prompts, digests, strict=True) if digest not in order]
    if foreign:
        raise ValueError(
            f"{len(foreign)} of {len(prompts)} instructions are not AlpacaEval's, first "
            f"{shortened(foreign[0])}, and of those no difficulty is known"
        )
    return [order[digest] for digest in digests]
