"""What a GGUF file can be of a model of these shapes: said before anything is computed."""

from collections.abc import Iterable, Mapping
from math import prod

from scripts.backends.sizes import advice, megabytes
from scripts.forecast import Outline
from scripts.tensors.gguf_header import bits_per_weight, block_of

IN_NO_KEY = "it says what can't be made, and makes no bytes"

_SMALLEST, _BLOCK = 4.5, 32  # bits for each value of Q4_0 and IQ4_NL, and the values of a block
_FLOAT = 16
_PER_TOKEN, _FIELDS = 64, 100_000  # bytes of the tokenizer in the file, about
_HEAD = 8.5  # Q8_0, which presets give the head and the embedding at most

Shape = tuple[int, ...]


def unfit(preset: str, outline: Outline) -> str:
    """Why no matrix of the layers can have the type, in words; empty where one can."""
    block = block_of(preset)
    shapes = [shape for name, shape in outline.shapes.items() if outline.is_layered(name)]
    matrices = [shape for shape in shapes if len(shape) > 1]
    if not matrices or any(_divides(block, shape) for shape in matrices):
        return ""
    return no_width(preset, block, {shape[-1] for shape in matrices})


def no_width(preset: str, block: int, widths: Iterable[int]) -> str:
    """The sentence for a type whose blocks divide none of these widths."""
    listed = sorted(widths)
    shown = ", ".join(map(str, listed))
    if block > _BLOCK and any(width % _BLOCK == 0 for width in listed):
        instead = "Choose a type with blocks of 32, such as q8_0, q5_0, q4_0 or iq4_nl, or f16."
    else:
        instead = "Of such a model GGUF has f16 and bf16 alone."
    return (
        f"type {preset}: no width of the layers' matrices ({shown}) divides by its block of "
        f"{block} values, so that all would stay in another type. {instead}"
    )


def too_small(size: str | int, outline: Outline) -> str:
    """Why `type: auto` can't keep to `size`, bytes or a preset; empty where it may."""
    least = sum(_least(shape) for shape in outline.shapes.values())
    if isinstance(size, str):
        asked = f"`like: {size}` makes a smaller file"
        too_large = _at_most(size, outline) < least
    else:
        asked = f"`max_bytes: {size}` is less ({megabytes(size)})"
        too_large = size < least
    if not too_large:
        return ""
    enough = least + _PER_TOKEN * outline.rows + _FIELDS
    return (
        f"type auto: in the smallest types that there are (4.5 bits, q4_0 and iq4_nl) the weights "
        f"alone take {least:,} bytes ({megabytes(least)}), and {asked}. {advice(enough)}"
    )


def _divides(block: int, shape: Shape) -> bool:
    """Some families store a matrix the other way round."""
    return any(width % block == 0 for width in shape[-2:])


def _least(shape: Shape) -> int:
    quantised = len(shape) > 1 and _divides(_BLOCK, shape)
    return int(prod(shape) * (_SMALLEST if quantised else _FLOAT) / 8)


def _at_most(preset: str, outline: Outline) -> float:
    """Bytes of the weights in a preset; what its blocks don't divide stays larger."""
    shapes: Mapping[str, Shape] = outline.shapes
    bits = bits_per_weight(preset)
    block = block_of(preset)
    return sum(
        prod(shape) * (bits if outline.is_layered(name) else max(bits, _HEAD)) / 8
        if len(shape) > 1 and shape[-1] % block == 0
        else prod(shape) * 4
        for name, shape in shapes.items()
    )
