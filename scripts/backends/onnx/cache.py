"""What a graph remembers of the tokens before: names and shapes, as onnxruntime-genai's builder
gives them.

Attention has `past_key_values.N.key` and `.value`, [batch, KV heads, tokens, head width], which
grow; convolutions and recurrences have `past.N.conv` and `past.N.recurrent`, which do not.
"""

from collections.abc import Iterable

ATTENTION, STATE = "past_key_values.", "past."
_TOKENS = 2  # the dimension of an attention's cache that grows


def is_cache(name: str) -> bool:
    """Whether an input of a graph is what it remembers."""
    return name.startswith((ATTENTION, STATE))


def cache_after(name: str) -> str:
    """The output that becomes the input `name` of the next call."""
    return f"present.{name.removeprefix(ATTENTION).removeprefix(STATE)}"


def empty_cache(name: str, shape: Iterable[int | str]) -> tuple[int, ...]:
    """The shape before the first token, for a batch of one; `shape` is the input's own, some of it
    words."""
    sizes = [int(one) if str(one).isdigit() else 1 for one in shape]
    if name.startswith(ATTENTION):
        sizes[_TOKENS] = 0
    return tuple(sizes)
