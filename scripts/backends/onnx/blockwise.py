"""Turning every MatMul of a graph into blocks by a method, on all cores."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Literal

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from scripts.backends.misfits import KEY, told
from scripts.backends.onnx.graph import Linear, head, linears
from scripts.backends.onnx.nbits import Blocks, pack, place, refuse_misfits
from scripts.calibration.stored import Captured
from scripts.checkpoint import Checkpoints
from scripts.errors import QuantmakeError
from scripts.methods.integer_grid import Grid, search
from scripts.progress import BYTES, Progress
from scripts.workers import available_cores, single_core_workers

OnMisfit = Literal["error", "float", "rtn"]
# Whole numbers [N, K] and their grid for the weight [N, K] of a MatMul.
Rounded = tuple[torch.Tensor, Grid]
Method = Callable[[Linear, torch.Tensor], Rounded]

_AHEAD = 2  # results that wait for each worker, at most: weights are large
_SIZES = (256, 128, 64, 32, 16)


def captured_name(linear: Linear, captured: Captured) -> str | None:
    """The Hugging Face name of a MatMul's linear; of merged ones (qkv_proj) that of the first."""
    parts = linear.name.removesuffix("/MatMul").removesuffix("/Gemm").strip("/").replace("/", ".")
    named = parts.replace(".attn.", ".self_attn.").replace("qkv_proj", "q_proj")
    return next((name for name in (parts, named) if name in captured.names), None)


def to_blocks(rounded: Rounded, symmetric: bool) -> Blocks:
    """As the operators store them, with scales in float16."""
    numbers, grid = rounded
    whole = numbers.to(torch.uint8).numpy()
    rows, size = len(whole), grid.block_size
    return Blocks(
        packed=pack(whole.reshape(-1, size), grid.bits).reshape(rows, -1, size * grid.bits // 8),
        scales=grid.scales.half().numpy(),
        bits=grid.bits,
        block_size=size,
        zeros=None if symmetric else pack(grid.zeros.to(torch.uint8).numpy(), grid.bits),
    )


def to_nearest(weight: torch.Tensor, *, bits: int, block_size: int, symmetric: bool) -> Rounded:
    """Round to the nearest of a grid that was searched for the least squared error."""
    importance = torch.ones(weight.shape[1])
    grid = search(weight, importance, bits=bits, block_size=block_size, symmetric=symmetric)
    return grid.quantise(weight), grid


def in_order(
    work: Sequence[Callable[[], Blocks]], pool: ThreadPoolExecutor, threads: int
) -> Iterator[Blocks]:
    """Results in the order of the work, with few of them waiting."""
    waiting: list[Future[Blocks]] = []
    for one in work:
        waiting.append(pool.submit(one))
        if len(waiting) > _AHEAD * threads:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()


class Blockwise(BaseModel):
    """The options that all formats made of MatMulNBits share; a format is read as one of these."""

    model_config = ConfigDict(frozen=True)

    bits: int
    block_size: int
    symmetric: bool
    accuracy_level: int
    head_bits: int
    on_misfit: OnMisfit

    def quantise(self, model: ir.Model, method: Method, captured: Captured | None = None) -> None:
        """Turn every MatMul into MatMulNBits by a method, and the embedding into blocks.

        The head is often the embedding too, which a method that minimises the head's error
        would damage: it is rounded to nearest, with `head_bits`. Raises QuantmakeError that
        names every MatMul that the method does not fit, where `on_misfit` is `error`.
        """
        last = head(model)
        chosen, misfits, fates = self.sort_out(linears(model), last, captured)
        if fates:
            model.metadata_props[KEY] = json.dumps(dict(told(fates)), sort_keys=True)
        heads = [] if last is None else [last.node]
        threads, checkpoints = available_cores(), Checkpoints.of_this_run()
        bar = Progress("quantising", sum(linear.bytes for linear in chosen), BYTES)

        def blocks(linear: Linear) -> Blocks:
            if linear.node in heads:
                return self._nearest(linear.weight(), self.head_bits)
            if linear.node in misfits:
                return self._nearest(linear.weight(), self.bits)
            return to_blocks(method(linear, rows_of(linear.weight())), self.symmetric)

        def kept(linear: Linear) -> Blocks:
            make = partial(_to_tensors, partial(blocks, linear))
            return _from_tensors(checkpoints.result(linear.name, make))

        with torch.inference_mode(), single_core_workers(threads) as pool:
            work = [partial(kept, linear) for linear in chosen]

            def reported() -> Iterator[tuple[Linear, Blocks]]:
                for linear, made in zip(chosen, in_order(work, pool, threads), strict=True):
                    bar.advance(linear.bytes)
                    yield linear, made

            place(
                model,
                reported(),
                accuracy_level=self.accuracy_level,
                embedding_blocks=lambda weight: self._nearest(weight, self.head_bits),
            )

    def nearest(self, _: Linear, weight: torch.Tensor) -> Rounded:
        """The method that rounds a weight [N, K] to the nearest of a searched grid."""
        return to_nearest(
            weight, bits=self.bits, block_size=self.block_size, symmetric=self.symmetric
        )

    def sort_out(
        self, found: Sequence[Linear], last: Linear | None, captured: Captured | None
    ) -> tuple[list[Linear], set[ir.Node], dict[str, str]]:
        """The MatMuls to quantise, which of these are rounded to nearest as misfits, and what
        becomes of each misfit by its name.

        A method fits a MatMul whose input width the block size divides and whose inputs the
        capture has seen. The head needs no more than a width that some block size divides.
        """
        others = [one for one in found if last is None or one.node is not last.node]
        if self.on_misfit == "error":
            refuse_misfits(found, self.block_size)
        reasons = {}
        for linear in others:
            if linear.columns % self.block_size:
                reasons[linear.name] = f"block_size {self.block_size} does not divide its width"
            elif captured is not None and captured_name(linear, captured) is None:
                reasons[linear.name] = "the capture has not seen its inputs"
        if reasons and self.on_misfit == "error":
            raise QuantmakeError(
                f"the method does not fit {len(reasons)} MatMuls: "
                + "; ".join(f"{name}: {why}" for name, why in reasons.items())
                + ". Choose another method, or set on_misfit to float or rtn."
            )
        stays = self.on_misfit == "float"
        fate = "stays in float" if stays else "is rounded to nearest"
        fates = {name: f"{fate}: {why}" for name, why in reasons.items()}
        chosen = [one for one in found if not (stays and one.name in reasons)]
        return chosen, {one.node for one in chosen if one.name in reasons}, fates

    def _nearest(self, weight: NDArray[np.float32], bits: int) -> Blocks:
        """Blocks of a weight [K, N], of the greatest size up to `block_size` that divides K."""
        size = next((one for one in _SIZES if not len(weight) % one and one <= self.block_size), 0)
        if not size:
            raise QuantmakeError(f"no block size divides the width {len(weight)}")
        found = to_nearest(rows_of(weight), bits=bits, block_size=size, symmetric=True)
        return to_blocks(found, symmetric=True)


def _to_tensors(make: Callable[[], Blocks]) -> dict[str, torch.Tensor]:
    """Blocks as a checkpoint holds them."""
    blocks = make()
    arrays = {"packed": blocks.packed, "scales": blocks.scales, "zeros": blocks.zeros}
    found = {name: torch.from_numpy(one) for name, one in arrays.items() if one is not None}
    return {**found, "layout": torch.tensor([blocks.bits, blocks.block_size])}


def _from_tensors(tensors: Mapping[str, torch.Tensor]) -> Blocks:
    bits, block_size = tensors["layout"].tolist()
    zeros = tensors["zeros"].numpy() if "zeros" in tensors else None
    packed, scales = tensors["packed"].numpy(), tensors["scales"].numpy()
    return Blocks(packed, scales, bits=bits, block_size=block_size, zeros=zeros)


def rows_of(weight: NDArray[np.float32]) -> torch.Tensor:
    """A weight [K, N] as [N, K]."""
    return torch.from_numpy(np.ascontiguousarray(weight.T))


def hessian_of(linear: Linear, captured: Captured) -> torch.Tensor:
    """XᵀX / n of a MatMul's inputs, float32 [K, K]."""
    name = captured_name(linear, captured)
    assert name is not None
    return torch.from_numpy(captured.hessian(name))
