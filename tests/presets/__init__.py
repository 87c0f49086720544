"""Tests of the presets that stand for other implementations."""

PRESETS = (
    "alpacafarm",
    "instructgpt",
    "lm-human-preferences",
    "tldr-details",
    "trl-1.12",
    "fine-grained-rlhf",
)
