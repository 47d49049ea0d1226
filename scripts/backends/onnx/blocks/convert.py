"""Turning every MatMul of a graph into blocks by a method, on all cores."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from scripts.backends.onnx.blocks.nodes import SIZES, Blocks, pack, place, refuse_unfit
from scripts.backends.onnx.captured import captured_name
from scripts.backends.onnx.graph import Linear, head, linears
from scripts.backends.unsupported import KEY, told
from scripts.calibration.stored import Captured
from scripts.checkpoint import Checkpoints
from scripts.errors import QuantmakeError
from scripts.methods.integer_grid import GridOptions, Rounded
from scripts.methods.rtn import rtn
from scripts.progress import BYTES, Progress
from scripts.workers import available_cores, single_core_workers

OnUnsupported = Literal["error", "float", "rtn"]
# Integer codes [N, K] and their grid for the weight [N, K] of a MatMul.
Kernel = Callable[[Linear, torch.Tensor], Rounded]

_AHEAD = 2  # results that wait for each worker, at most: weights are large


def rows_of(weight: NDArray[np.float32]) -> torch.Tensor:
    """A weight [K, N] as [N, K]."""
    return torch.from_numpy(np.ascontiguousarray(weight.T))


def to_blocks(rounded: Rounded, symmetric: bool) -> Blocks:
    """As the operators store them, with scales in float16."""
    codes, grid = rounded[0].to(torch.uint8).numpy(), rounded[1]
    rows, size = len(codes), grid.block_size
    return Blocks(
        packed=pack(codes.reshape(-1, size), grid.bits).reshape(rows, -1, size * grid.bits // 8),
        scales=grid.scales.half().numpy(),
        bits=grid.bits,
        block_size=size,
        zeros=None if symmetric else pack(grid.zeros.to(torch.uint8).numpy(), grid.bits),
    )


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


@dataclass(frozen=True)
class Conversion:
    """How a graph is turned into blocks, beside the method itself."""

    grid: GridOptions
    head_bits: int
    accuracy_level: int
    on_unsupported: OnUnsupported

    def quantise(self, model: ir.Model, kernel: Kernel, captured: Captured | None) -> None:
        """Turn every MatMul into MatMulNBits by a method, and the embedding into blocks.

        The head is often the embedding too, which a method that minimises the head's error
        would damage: it is rounded to nearest, with `head_bits`. Raises QuantmakeError that
        names every MatMul that is not supported, where `on_unsupported` is `error`.
        """
        last = head(model)
        chosen, unsupported = self._sort_out(linears(model), last, captured)
        if unsupported:
            model.metadata_props[KEY] = json.dumps(dict(told(unsupported)), sort_keys=True)
        heads = [] if last is None else [last.node]
        threads, checkpoints = available_cores(), Checkpoints.of_this_run()
        bar = Progress("quantising", sum(linear.bytes for linear in chosen), BYTES)

        def blocks(linear: Linear) -> Blocks:
            if linear.node in heads:
                return self._nearest(linear.weight(), self.head_bits)
            if linear.name in unsupported:
                return self._nearest(linear.weight(), self.grid.bits)
            return to_blocks(kernel(linear, rows_of(linear.weight())), self.grid.symmetric)

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

    def _sort_out(
        self, all_linears: Sequence[Linear], last: Linear | None, captured: Captured | None
    ) -> tuple[list[Linear], dict[str, str]]:
        """The MatMuls to quantise, and what becomes of each unsupported one, by its name.

        A MatMul is supported where the block size divides its input width and the capture has
        seen its inputs. The head needs no more than a width that some block size divides.
        """
        size = self.grid.block_size
        if self.on_unsupported == "error":
            refuse_unfit(all_linears, size)
        reasons = {}
        for linear in all_linears:
            if last is not None and linear.node is last.node:
                continue
            if linear.columns % size:
                reasons[linear.name] = f"block_size {size} does not divide its width"
            elif captured is not None and captured_name(linear, captured) is None:
                reasons[linear.name] = "the capture has not seen its inputs"
        if reasons and self.on_unsupported == "error":
            raise QuantmakeError(
                f"the method does not support {len(reasons)} MatMuls: "
                + "; ".join(f"{name}: {why}" for name, why in reasons.items())
                + ". Choose another method, or set on_unsupported to float or rtn."
            )
        stays = self.on_unsupported == "float"
        outcome = "stays in float" if stays else "is rounded to nearest"
        chosen = [one for one in all_linears if not (stays and one.name in reasons)]
        return chosen, {name: f"{outcome}: {why}" for name, why in reasons.items()}

    def _nearest(self, weight: NDArray[np.float32], bits: int) -> Blocks:
        """Blocks of a weight [K, N], of the largest size up to `block_size` that divides K."""
        fits = [size for size in SIZES if size <= self.grid.block_size and not len(weight) % size]
        if not fits:
            raise QuantmakeError(f"no block size divides the width {len(weight)}")
        rounded = rtn(rows_of(weight), GridOptions(bits, max(fits), symmetric=True))
        return to_blocks(rounded, symmetric=True)


def _to_tensors(make: Callable[[], Blocks]) -> dict[str, torch.Tensor]:
    """Blocks as a checkpoint holds them."""
    blocks = make()
    arrays = {"packed": blocks.packed, "scales": blocks.scales, "zeros": blocks.zeros}
    tensors = {name: torch.from_numpy(one) for name, one in arrays.items() if one is not None}
    return {**tensors, "layout": torch.tensor([blocks.bits, blocks.block_size])}


def _from_tensors(tensors: Mapping[str, torch.Tensor]) -> Blocks:
    bits, block_size = tensors["layout"].tolist()
    zeros = tensors["zeros"].numpy() if "zeros" in tensors else None
    packed, scales = tensors["packed"].numpy(), tensors["scales"].numpy()
    return Blocks(packed, scales, bits=bits, block_size=block_size, zeros=zeros)
