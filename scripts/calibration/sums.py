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
from scripts.calibration.part import Part
from scripts.errors import QuantmakeError

Result = TypeVar("Result")
_PANELS = 4


def upper(rows: torch.Tensor) -> NDArray[np.float32]:
    """XᵀX for X [n, columns], of which only panels from the diagonal on are computed.

    What lies left of them is zero: a third of the work less than the whole symmetric product.
    """
    values, columns = rows.numpy(), rows.shape[1]
    total = np.zeros((columns, columns), np.float32)
    width = -(-columns // _PANELS)
    for start in range(0, columns, width):
        panel = slice(start, start + width)
        add_product(total[panel, start:], values[:, panel].T, values[:, start:])
    return total


@dataclass
class Seen:
    """One window's input X [n, columns]: `upper` of it, min and max of each column."""

    rows: int
    product: Any  # of a GPU its own tensor, which stays there
    minimum: NDArray[np.float32]
    maximum: NDArray[np.float32]


@dataclass
class Window:
    """What one window fed to each linear: the distinct inputs, and which linear reads which."""

    inputs: dict[str, Seen] = field(default_factory=dict)
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
        self.inputs[name] = Seen(
            rows=rows.shape[0],
            product=upper(rows) if rows.device.type == "cpu" else rows.T @ rows,
            minimum=rows.amin(0).cpu().numpy(),
            maximum=rows.amax(0).cpu().numpy(),
        )


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

        handles = [linear.register_forward_pre_hook(hook(name)) for name, linear in linears.items()]
        try:
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
        self._rows: dict[str, int] = {}
        self._edges: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}
        self._shared: dict[str, str] = {}

    def add(self, window: Window) -> None:
        """Add one window."""
        self._shared.update(window.shared)
        for name, seen in window.inputs.items():
            if name not in self._totals:
                of = seen.product
                self._totals[name] = (
                    of.double().zero_() if isinstance(of, torch.Tensor) else np.zeros(of.shape)
                )
                self._edges[name] = seen.minimum, seen.maximum
            self._totals[name] += seen.product
            self._rows[name] = self._rows.get(name, 0) + seen.rows
            minimum, maximum = self._edges[name]
            self._edges[name] = (
                np.minimum(minimum, seen.minimum),
                np.maximum(maximum, seen.maximum),
            )

    def finish(self) -> Part:
        """The means.

        Raises QuantmakeError that names every linear whose inputs are all zero or not finite.
        """
        self._totals = {
            name: one.cpu().numpy() if isinstance(one, torch.Tensor) else one
            for name, one in self._totals.items()
        }
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
            whole = np.triu(total) + np.triu(total, 1).T
            hessians[name] = (whole / self._rows[name]).astype(np.float32)
        for name, first in self._shared.items():
            square = self._totals[first].diagonal() / self._rows[first]
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
