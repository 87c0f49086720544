"""The stages that methods put together; each call describes a stage and computes nothing.

`Stages` is one class in five files, in the order of a run: what every stage has, data, reward
models, policies, evaluation.
"""

from bench.stages.planning.base import PACKAGES
from bench.stages.planning.evaluation import Stages

__all__ = ["PACKAGES", "Stages"]
