"""The kernel against bitsandbytes' own, and what it says of weights that it can't use."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from safetensors.torch import save_file

from scripts.errors import QuantmakeError
from scripts.nf4.plan import Plan
from scripts.nf4.quantise import quantise, refuse_unusable


@dataclass(frozen=True)
class Kind:
    quant_type: str
    block_size: int
    double_quant: bool


KINDS = [
    Kind(quant_type, block_size, double_quant)
    for quant_type in ("nf4", "fp4")
    for block_size in (64, 128, 256, 512, 1024, 2048, 4096)
    for double_quant in (True, False)
]


def weight(rows: int, columns: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(rows, columns, generator=generator) * 0.02).half()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_bit_for_bit_what_bitsandbytes_gives(kind: Kind) -> None:
    original = weight(64, 4096)
    packed, state = quantise(original, kind)
    want, want_state = quantize_4bit(
        original,
        blocksize=kind.block_size,
        compress_statistics=kind.double_quant,
        quant_type=kind.quant_type,
    )
    assert torch.equal(packed, want)
    parts, want_parts = state.as_dict(packed=True), want_state.as_dict(packed=True)
    assert parts.keys() == want_parts.keys()
    assert all(torch.equal(parts[name], want_parts[name]) for name in parts)
    error = (dequantize_4bit(packed, state) - original).float()
    assert error.square().mean().sqrt() < 0.25 * 0.02


def test_bytes_do_not_depend_on_threads() -> None:
    # torch's mean of these 65,536 scales differs between one thread and more.
    original, threads = weight(4096, 1024), torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            found.append(quantise(original, Kind("nf4", 64, True))[1].as_dict(packed=True))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(found[0][name], other[name]) for name in other)


def test_every_weight_that_is_not_finite_is_named(tmp_path: Path) -> None:
    tensors = {name: weight(2, 64) for name in ("a.weight", "b.weight", "norm.weight")}
    tensors["a.weight"][1, 3] = torch.nan
    tensors["norm.weight"][0, 0] = torch.inf
    save_file(tensors, tmp_path / "model.safetensors")
    plan = Plan(frozenset({"a.weight", "b.weight"}), frozenset(), ())
    with pytest.raises(QuantmakeError, match=r"infinity in a\.weight, norm\.weight; a quant"):
        refuse_unusable([tmp_path / "model.safetensors"], plan)


def test_every_weight_that_is_missing_is_named(tmp_path: Path) -> None:
    save_file({"a.weight": weight(2, 64)}, tmp_path / "model.safetensors")
    plan = Plan(frozenset({"a.weight", "b.weight", "c.weight"}), frozenset(), ())
    with pytest.raises(QuantmakeError, match=r"base has no tensors b\.weight, c\.weight, which"):
        refuse_unusable([tmp_path / "model.safetensors"], plan)
