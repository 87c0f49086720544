"""Claude as the judge, as in the paper (arXiv:2406.02756, Table 1), on the Anthropic API.

The paper's row for PPO-RLHF is that of AlpacaEval's `claude` annotator, which asks a model of 2023
in one order, drawn at random. Here the model is an option and the name it returns is recorded, the
prompts are our own, and both orders are asked.
"""

from __future__ import annotations

from judges.pairwise import Pairwise


class Claude(Pairwise):
    """Claude compares the outputs, in both orders."""

    name = "claude"
