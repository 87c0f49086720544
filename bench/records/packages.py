"""The packages whose versions can move a number: a record has them."""

PACKAGES = (
    "grainbench",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "tokenizers",
    "safetensors",
    "datasets",
    "anthropic",
    "alpaca-eval",
    "numpy",
    "scipy",
    "pandas",
)
