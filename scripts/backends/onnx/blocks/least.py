"""What `bits: auto` can't be of a model of these shapes: said before anything is computed."""

from math import prod

from scripts.backends.sizes import advice, megabytes
from scripts.forecast import Outline

IN_NO_KEY = "it says what can't be made, and makes no bytes"

_SMALLEST = 4 + 20 / 128  # bits for each value: codes, and for each block a scale and a zero point
_MORE = 200_000  # bytes of nodes and tables of positions, about


def too_small(max_bytes: int, outline: Outline) -> str:
    """Why the weights can't keep to `max_bytes`; empty where they may."""
    matrices = [shape for shape in outline.shapes.values() if len(shape) > 1]
    least = int(sum(map(prod, matrices)) * _SMALLEST / 8)
    if max_bytes >= least:
        return ""
    return (
        f"bits auto: in the smallest blocks that there are ({_SMALLEST:.2f} bits) the weights "
        f"alone take {least:,} bytes ({megabytes(least)}), and `max_bytes: {max_bytes}` is less "
        f"({megabytes(max_bytes)}). {advice(least + _MORE)}"
    )
