"""MatMuls of the float graph as blocks of integer codes by a method, on all cores.

What every backend that stores such blocks shares; how they lie in its files is its own.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.backends.blocks import SIZES, Blocks, Linear, pack, refuse_unfit
from scripts.backends.captured import captured_name
from scripts.calibration.stored import Captured
from scripts.checkpoint import Checkpoints
from scripts.errors import QuantmakeError
from scripts.methods.integer_grid import GridOptions, Rounded
from scripts.methods.rtn import rtn
from scripts.progress import BYTES, Progress
from scripts.workers import available_cores, single_core_workers

_AHEAD = 2  # results that wait for each worker, at most: weights are large


L = TypeVar("L", bound=Linear)
L_contra = TypeVar("L_contra", bound=Linear, contravariant=True)
OnUnsupported = Literal["error", "float", "rtn"]


class Kernel(Protocol[L_contra]):
    """A method: integer codes [N, K] and their grid for the weight [N, K] of a MatMul."""

    def __call__(self, linear: L_contra, weight: torch.Tensor, /) -> Rounded: ...


def rows_of(weight: NDArray[np.float32]) -> torch.Tensor:
    """A weight [K, N] as [N, K]."""
    return torch.from_numpy(np.ascontiguousarray(weight.T))


def to_blocks(rounded: Rounded, symmetric: bool) -> Blocks:
    """As they are stored, with scales in float16."""
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


def made_blocks(linears: Sequence[L], make: Callable[[L], Blocks]) -> Iterator[tuple[L, Blocks]]:
    """Each of the MatMuls with its blocks, as they are made on all cores; after a kill the next run
    takes up what there is."""
    threads, checkpoints = available_cores(), Checkpoints.of_this_run()
    bar = Progress("quantising", sum(linear.bytes for linear in linears), BYTES)

    def kept(linear: L) -> Blocks:
        tensors = partial(_to_tensors, partial(make, linear))
        return _from_tensors(checkpoints.result(linear.name, tensors))

    with torch.inference_mode(), single_core_workers(threads) as pool:
        work = [partial(kept, linear) for linear in linears]
        for linear, made in zip(linears, in_order(work, pool, threads), strict=True):
            bar.advance(linear.bytes)
            yield linear, made


@dataclass(frozen=True)
class Conversion:
    """How MatMuls are turned into blocks, beside the method itself.

    The head, whose name is `head` or "", is often the embedding too, which a method that minimises
    the head's error would damage: it is rounded to nearest, with `head_bits`.
    """

    grid: GridOptions
    head_bits: int
    on_unsupported: OnUnsupported
    head: str

    def blocks(
        self, chosen: Sequence[L], unsupported: Mapping[str, str], kernel: Kernel[L]
    ) -> Iterator[tuple[L, Blocks]]:
        """Each of the MatMuls with its blocks, as they are made; `unsupported` ones are rounded to
        nearest."""

        def blocks(linear: L) -> Blocks:
            if linear.name == self.head:
                return self.nearest(linear.weight(), self.head_bits)
            if linear.name in unsupported:
                return self.nearest(linear.weight(), self.grid.bits)
            return to_blocks(kernel(linear, rows_of(linear.weight())), self.grid.symmetric)

        return made_blocks(chosen, blocks)

    def sort_out(
        self, linears: Sequence[L], captured: Captured | None
    ) -> tuple[list[L], dict[str, str]]:
        """The MatMuls to quantise, and what becomes of each unsupported one, by its name.

        A MatMul is supported where the block size divides its input width and the capture has
        seen its inputs. The head needs no more than a width that some block size divides. Raises
        QuantmakeError that names all that are not supported, where `on_unsupported` is `error`.
        """
        size = self.grid.block_size
        if self.on_unsupported == "error":
            refuse_unfit(linears, size)
        reasons = {}
        for linear in linears:
            if linear.name == self.head:
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
        chosen = [one for one in linears if not (stays and one.name in reasons)]
        return chosen, {name: f"{outcome}: {why}" for name, why in reasons.items()}

    def nearest(self, weight: NDArray[np.float32], bits: int) -> Blocks:
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
