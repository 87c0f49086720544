"""Model families: a judge favours what its own family wrote, so a report must know them."""

import re

_NAMES = {
    "claude": ("claude",),
    "gpt": ("gpt", "chatgpt", "davinci", "o1", "o3", "o4"),
    "gemini": ("gemini", "gemma"),
    "llama": ("llama", "vicuna"),
    "qwen": ("qwen", "qwq"),
    "mistral": ("mistral", "mixtral", "ministral"),
    "deepseek": ("deepseek",),
}


def family(name: str | None) -> str | None:
    """The family that a model's name gives away, None where it gives none.

    Args:
        name: as "claude-sonnet-5-5", "text_davinci_003", or a source with the model in it, as
            "claude:claude-sonnet-5-5:ab12cd34". Of several families the first named counts.
    """
    for word in re.split(r"[^a-z0-9]+", (name or "").lower()):
        for known, prefixes in _NAMES.items():
            if word.startswith(prefixes):
                return known
    return None


def same_family(a: str | None, b: str | None) -> bool:
    """Whether both names are known to be of one family."""
    return family(a) is not None and family(a) == family(b)
