"""Codes are packed as MLX packs them, bit for bit."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from scripts.backends.mlx.packing import BITS, GROUPS, pack, unpack
from scripts.extras import environment_python, environments, missing

try:
    PYTHON: Path | None = environment_python("mlx")
except ImportError:
    PYTHON = None
needs_mlx = pytest.mark.skipif(PYTHON is None, reason="the environment mlx is not set up")

# Packs codes as weights that lie on their own grid, and gives the values of ours.
_BY_MLX = """
import sys, numpy as np, mlx.core as mx
given, out = np.load(sys.argv[1]), {}
for name in given.files:
    kind, bits, group = name.split("-")
    bits, group = int(bits), int(group)
    if kind == "codes":
        rows = mx.array(given[name].astype(np.float32))
        packed, scales, biases = mx.quantize(rows, group_size=group, bits=bits)
        out[name] = np.array(packed)
        values = mx.dequantize(packed, scales, biases, group_size=group, bits=bits)
        assert np.array_equal(np.array(values), given[name])
    else:
        packed, ones = mx.array(given[name]), mx.ones((len(given[name]), 256 // group))
        values = mx.dequantize(packed, ones, mx.zeros_like(ones), group_size=group, bits=bits)
        out[name] = np.array(values)
np.savez(sys.argv[2], **out)
"""


def codes(bits: int, group: int) -> np.ndarray:
    """[8, 256]; each group has the least and the largest code, so that MLX's scale is 1 or -1."""
    made = np.random.default_rng(bits).integers(0, 2**bits, (8, 256 // group, group), np.uint8)
    made[..., 3], made[..., 7] = 0, 2**bits - 1
    return made.reshape(8, 256)


@pytest.mark.parametrize("bits", BITS)
def test_unpacking_gives_the_codes(bits: int) -> None:
    given = codes(bits, 32)
    packed = pack(given, bits)
    assert (packed.dtype, packed.shape) == (np.uint32, (8, 8 * bits))
    np.testing.assert_array_equal(unpack(packed, bits), given)


def test_first_code_is_in_the_lowest_bits() -> None:
    given = np.zeros((1, 32), np.uint8)
    given[0, :3] = (5, 6, 1)
    assert pack(given, 3)[0].tolist() == [5 | 6 << 3 | 1 << 6, 0, 0]
    given[0, 10] = 7  # bits 30 to 32: over the end of a word
    assert pack(given, 3)[0].tolist() == [5 | 6 << 3 | 1 << 6 | 3 << 30, 1, 0]


@needs_mlx
@pytest.mark.slow
def test_mlx_packs_and_unpacks_the_same_bits(tmp_path: Path) -> None:
    grids = [(bits, group) for bits in BITS for group in GROUPS]
    given = {f"codes-{bits}-{group}": codes(bits, group) for bits, group in grids}
    given |= {f"words-{bits}-{group}": pack(codes(bits, group), bits) for bits, group in grids}
    np.savez(tmp_path / "given.npz", **given)
    command = [str(PYTHON), "-I", "-c", _BY_MLX]
    files = [str(tmp_path / name) for name in ("given.npz", "out.npz")]
    subprocess.run([*command, *files], check=True, timeout=120)
    out = np.load(tmp_path / "out.npz")
    for bits, group in grids:
        wanted = given[f"codes-{bits}-{group}"]
        np.testing.assert_array_equal(out[f"words-{bits}-{group}"], wanted)
        theirs = unpack(out[f"codes-{bits}-{group}"], bits)
        # Where the largest code lies further out, MLX counts from it downwards.
        np.testing.assert_array_equal(
            np.minimum(theirs, 2**bits - 1 - theirs), np.minimum(wanted, 2**bits - 1 - wanted)
        )


def test_environment_is_told_as_missing_or_there() -> None:
    assert bool(missing(["mlx", "mlx-lm"])) == (PYTHON is None)
    assert environments()["mlx"][0].startswith("mlx[cpu]==")
