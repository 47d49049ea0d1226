"""The kernel against bitsandbytes' own, and what it says of weights that it can't use."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, get_4bit_type, quantize_4bit
from safetensors.torch import save_file

from scripts.backends.bitsandbytes.kernel import quantise_blocks
from scripts.backends.bitsandbytes.plan import Plan
from scripts.backends.bitsandbytes.rtn import rtn
from scripts.backends.bitsandbytes.stored import work_of
from scripts.backends.shards import (
    Work,
    bytes_needed,
    quantise_shard,
    refuse_broken,
    refuse_missing,
)
from scripts.checkpoint import Checkpoints
from scripts.errors import QuantmakeError
from scripts.progress import Progress


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
NF4 = get_4bit_type("nf4", device="cpu")


def weight(rows: int, columns: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(rows, columns, generator=generator) * 0.02).half()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_bit_for_bit_what_bitsandbytes_gives(kind: Kind) -> None:
    original = weight(64, 4096)
    packed, state = rtn(original, kind)
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
            found.append(rtn(original, Kind("nf4", 64, True))[1].as_dict(packed=True))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(found[0][name], other[name]) for name in other)


def nearest(plan: Plan, kind: Kind) -> Work:
    """Rounding to nearest, nothing kept."""
    return work_of(plan, lambda _, weight: rtn(weight, kind), Checkpoints(None))


def shard_of(tensors: dict[str, torch.Tensor], folder: Path) -> Path:
    """A shard of a base."""
    path = folder / "base.safetensors"
    save_file(tensors, path)
    return path


def test_kernel_on_values_that_are_hard() -> None:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(64, 256, generator=generator) * torch.logspace(-7, 4, 64)[:, None]
    values[3], values[4, :64], values[5, 0] = 0, 0, 65504
    middles = (NF4[1:] + NF4[:-1]) / 2
    values[6, 0], values[6, 1:16] = 1, middles  # a ratio on the edge between two levels
    values[7, 0], values[7, 1:16] = -1, middles
    for weight_ in (values.half(), values, values.bfloat16()):
        for kind in ("nf4", "fp4"):
            packed, absmax, finite = quantise_blocks(weight_, 64, kind)
            want, state = quantize_4bit(weight_, blocksize=64, quant_type=kind)
            assert torch.equal(packed, want)
            assert torch.equal(absmax, state.absmax)
            assert finite


def test_file_is_what_save_file_writes(tmp_path: Path) -> None:
    tensors = {"b.weight": weight(64, 128), "a.weight": weight(32, 128), "é.bias": weight(1, 3)}
    shard = shard_of(tensors, tmp_path)
    plan, kind = Plan(frozenset({"a.weight", "b.weight"}), frozenset(), ()), Kind("nf4", 64, True)
    expected = {"é.bias": tensors["é.bias"]}
    for name in sorted(plan.weights):
        packed, state = rtn(tensors[name], kind)
        expected[name] = packed
        expected |= {f"{name}.{k}": v.contiguous() for k, v in state.as_dict(packed=True).items()}
    save_file(expected, tmp_path / "expected", metadata={"format": "pt"})
    with ThreadPoolExecutor(3) as pool:
        sizes, bad = quantise_shard(
            *(shard, tmp_path / "found", nearest(plan, kind), pool),
            Progress("quantising", 3),
        )
    assert not bad
    assert (tmp_path / "found").read_bytes() == (tmp_path / "expected").read_bytes()
    assert sizes == {name: one.nbytes for name, one in expected.items()}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "base.safetensors",
        "expected",
        "found",
    ]


def test_every_weight_that_is_not_finite_is_named(tmp_path: Path) -> None:
    tensors = {name: weight(2, 64) for name in ("a.weight", "b.weight", "norm.weight")}
    tensors["a.weight"][1, 3] = torch.nan
    tensors["norm.weight"][0, 0] = torch.inf
    plan, kind = Plan(frozenset({"a.weight", "b.weight"}), frozenset(), ()), Kind("nf4", 64, True)
    with ThreadPoolExecutor(1) as pool:
        _, bad = quantise_shard(
            *(shard_of(tensors, tmp_path), tmp_path / "found", nearest(plan, kind)),
            *(pool, Progress("quantising", 3)),
        )
    assert bad == ["a.weight", "norm.weight"]
    assert not (tmp_path / "found").exists()
    with pytest.raises(QuantmakeError, match=r"infinity in a\.weight, norm\.weight; a quant"):
        refuse_broken(bad)


def test_every_weight_that_is_missing_is_named(tmp_path: Path) -> None:
    shard = shard_of({"a.weight": weight(2, 64)}, tmp_path)
    plan = Plan(frozenset({"a.weight", "b.weight", "c.weight"}), frozenset(), ())
    with pytest.raises(QuantmakeError, match=r"base has no tensors b\.weight, c\.weight, which"):
        refuse_missing([shard], plan.weights)


def test_room_that_is_needed_is_near_what_is_taken(tmp_path: Path) -> None:
    tensors = {"a.weight": weight(512, 1024), "b.weight": weight(64, 1024)}
    shard = shard_of(tensors, tmp_path)
    plan, kind = Plan(frozenset({"a.weight"}), frozenset(), ()), Kind("nf4", 64, False)
    with ThreadPoolExecutor(1) as pool:
        quantise_shard(
            *(shard, tmp_path / "found", nearest(plan, kind), pool),
            Progress("quantising", 2),
        )
    taken = 2 * (tmp_path / "found").stat().st_size  # once while it waits, once in place
    assert taken * 0.95 < bytes_needed([shard], plan.weights, 0.285) < taken * 1.1
