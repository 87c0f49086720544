import pytest

from bench.llm.families import family, same_family


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("claude-sonnet-5-5", "claude"),
        ("claude:claude-sonnet-5-5:ab12cd34", "claude"),
        ("anthropic/Claude-3", "claude"),
        ("text_davinci_003", "gpt"),
        ("gpt-4o-mini", "gpt"),
        ("o3-mini", "gpt"),
        ("meta-llama/Llama-3.1-8B", "llama"),
        ("openai_chat:qwen3-32b:ab12", "qwen"),
        ("deepseek-r1-distill-llama-70b", "deepseek"),
        ("gold", None),
        ("testbed editor", None),
        ("", None),
        (None, None),
    ],
)
def test_family(name, expected):
    assert family(name) == expected


def test_an_unknown_family_is_the_same_as_none():
    assert same_family("claude-haiku-5-5", "claude:claude-sonnet-5-5:ab12cd34")
    assert not same_family("claude-haiku-5-5", "gpt-4o")
    assert not same_family("gold", "gold")
    assert not same_family(None, None)
