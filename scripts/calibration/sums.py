"""Watching the inputs of linear layers, and adding up what was seen."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from scripts.arithmetic.products import add_product
from scripts.calibration.attention import mixed, watched
from scripts.calibration.part import Part
from scripts.calibration.stored import MIXED
from scripts.calibration.token_weights import weighed
from scripts.errors import QuantmakeError

Result = TypeVar("Result")
_PANELS = 4


def upper(rows: torch.Tensor, others: torch.Tensor) -> NDArray[np.float32]:
    """XᵀY, which is symmetric, for X and Y [n, columns]: only panels from the diagonal on are
    computed.

    What lies left of them is zero: a third of the work less than the whole product.
    """
    values, right, columns = rows.numpy(), others.numpy(), rows.shape[1]
    total = np.zeros((columns, columns), np.float32)
    width = -(-columns // _PANELS)
    for start in range(0, columns, width):
        panel = slice(start, start + width)
        add_product(total[panel, start:], values[:, panel].T, right[:, start:])
    return total


@dataclass
class Seen:
    """One window's input X [n, columns]: `upper` of it as it is weighed; sum of squares, min and
    max of each column."""

    rows: int
    product: Any  # of a GPU its own tensor, which stays there
    squares: NDArray[np.float64]
    minimum: NDArray[np.float32]
    maximum: NDArray[np.float32]


def _product(rows: torch.Tensor, others: torch.Tensor) -> Any:
    return upper(rows, others) if rows.device.type == "cpu" else rows.T @ others


@dataclass
class Window:
    """What one window fed to each linear: the distinct inputs, and which linear reads which; and of
    value projections the products of their inputs as attention mixes them."""

    inputs: dict[str, Seen] = field(default_factory=dict)
    mixed: dict[str, Any] = field(default_factory=dict)
    shared: dict[str, str] = field(default_factory=dict)
    held: list[tuple[torch.Tensor, str]] = field(default_factory=list)

    def see(self, name: str, value: torch.Tensor) -> None:
        """The linear `name` is fed `value` [..., columns]."""
        # The tensors are held, so that none takes the place of another that was freed.
        for other, first in self.held:
            if other is value:
                self.shared[name] = first
                return
        self.held.append((value, name))
        self.shared[name] = name
        rows = value.detach().reshape(-1, value.shape[-1])
        even = weighed(rows)
        self.inputs[name] = Seen(
            rows=rows.shape[0],
            product=_product(even, even),
            squares=np.square(rows.cpu().numpy(), dtype=np.float64).sum(0),
            minimum=rows.amin(0).cpu().numpy(),
            maximum=rows.amax(0).cpu().numpy(),
        )

    def see_mixed(self, name: str, weights: Callable[[], torch.Tensor]) -> None:
        """Attention mixes the values of the linear `name` by weights [1, queries, heads, n]."""
        first = self.shared.get(name)
        inputs = next((value for value, other in self.held if other == first), None)
        if inputs is not None and len(inputs) == 1:
            self.mixed[name] = _product(inputs[0], mixed(inputs[0], weights()[0]))


class Watch:
    """Hooks on linears that note their inputs, apart for each thread."""

    def __init__(self) -> None:
        self._local = threading.local()

    @contextmanager
    def on(self, linears: Mapping[str, nn.Module]) -> Iterator[None]:
        """Watch these linears."""

        def hook(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
            def note(_: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
                window = getattr(self._local, "window", None)
                if window is not None:
                    window.see(name, arguments[0])

            return note

        names = {linear: name for name, linear in linears.items()}

        def note_mixed(projection: nn.Module, weights: Callable[[], torch.Tensor]) -> None:
            window = getattr(self._local, "window", None)
            if window is not None and projection in names:
                window.see_mixed(names[projection], weights)

        handles = [linear.register_forward_pre_hook(hook(name)) for name, linear in linears.items()]
        try:
            with watched(note_mixed):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def during(self, work: Callable[[], Result]) -> tuple[Result, Window]:
        """What `work` returns, and what the linears were fed meanwhile in this thread."""
        self._local.window = window = Window()
        with torch.inference_mode():
            result = work()
        self._local.window = None
        window.held.clear()
        return result, window


class Sums:
    """The windows' products in float64, added in the order of the windows."""

    def __init__(self) -> None:
        self._totals: dict[str, Any] = {}
        self._mixed: dict[str, Any] = {}
        self._rows: dict[str, int] = {}
        self._squares: dict[str, NDArray[np.float64]] = {}
        self._edges: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}
        self._shared: dict[str, str] = {}

    def add(self, window: Window) -> None:
        """Add one window."""
        self._shared.update(window.shared)
        for name, seen in window.inputs.items():
            if name not in self._totals:
                self._edges[name] = seen.minimum, seen.maximum
            _add(self._totals, name, seen.product)
            _add(self._squares, name, seen.squares)
            self._rows[name] = self._rows.get(name, 0) + seen.rows
            minimum, maximum = self._edges[name]
            self._edges[name] = (
                np.minimum(minimum, seen.minimum),
                np.maximum(maximum, seen.maximum),
            )
        for name, product in window.mixed.items():
            _add(self._mixed, name, product)

    def finish(self) -> Part:
        """The means.

        Raises QuantmakeError that names every linear whose inputs are all zero or not finite.
        """
        self._totals, self._mixed = _on_cpu(self._totals), _on_cpu(self._mixed)
        bad = [
            name
            for name, first in self._shared.items()
            if not np.isfinite(self._totals[first]).all() or not self._totals[first].any()
        ]
        if bad:
            raise QuantmakeError(
                f"the inputs of {', '.join(bad)} are all zero or not finite over the "
                "calibration's text; the base model or the text is broken"
            )
        self._tell_scarce()
        hessians, statistics = {}, {}
        for name, total in self._totals.items():
            hessians[name] = _whole(total / self._rows[name])
        for name, total in self._mixed.items():
            first = self._shared[name]
            # As large as that of the inputs: gradients are known of the values, not of mixtures.
            share = self._totals[first].trace() / total.trace() / self._rows[first]
            hessians[name + MIXED] = _whole(total * share)
        for name, first in self._shared.items():
            square = self._squares[first] / self._rows[first]
            statistics[f"{name}.mean_square"] = square.astype(np.float32)
            statistics[f"{name}.minimum"] = self._edges[first][0]
            statistics[f"{name}.maximum"] = self._edges[first][1]
        return Part(hessians, statistics, dict(self._shared))

    def _tell_scarce(self) -> None:
        """Experts that few tokens reach have Hessians that say nothing of some directions."""
        scarce = [
            f"{name} ({self._rows[name]} tokens, {len(total)} columns)"
            for name, total in self._totals.items()
            if self._rows[name] < len(total)
        ]
        if scarce:
            print(
                f"fewer tokens than columns reached {', '.join(scarce)}: what is rounded by what "
                "these saw gains less. A longer calibration helps."
            )


def _add(totals: dict[str, Any], name: str, product: Any) -> None:
    if name not in totals:
        is_tensor = isinstance(product, torch.Tensor)
        totals[name] = product.double().zero_() if is_tensor else np.zeros(product.shape)
    totals[name] += product


def _on_cpu(totals: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
    return {
        name: one.cpu().numpy() if isinstance(one, torch.Tensor) else one
        for name, one in totals.items()
    }


def _whole(upper: NDArray[np.float64]) -> NDArray[np.float32]:
    """The symmetric matrix of which one half is there."""
    whole: NDArray[np.float32] = (np.triu(upper) + np.triu(upper, 1).T).astype(np.float32)
    return whole
