"""What a peer is: its packages, its schemes, how it quantises and what runs what it wrote.

A peer's own Python imports this module and the peer's: both take the standard library alone, and
heavy packages inside functions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CPU_TORCH = "torch==2.13.0+cpu"
Inputs = Mapping[str, Path]
"""Nodes of the recipe's graph by name: `base`, `calibration` and what the peer needs more."""


@dataclass(frozen=True)
class Scheme:
    """One row of a peer.

    `call` says for people what is called; `ours` is the recipe's line of the artefact that stands
    beside it; `options` go to the peer's `quantise`; `note` is what to know of the row.
    """

    name: str
    call: str
    ours: str
    options: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Peer:
    """A quantiser of others.

    `packages` are pinned requirements for an environment of its own; with none it runs in
    quantmake's. `without` are taken out again, such as a build for GPUs of what is not needed.
    `quantise(inputs, out, options)` runs there and writes `out`, a folder or, with a `suffix`, a
    file. `runtime` is the backend of quantmake that loads it, or `module:function`, called in the
    peer's environment with the artefact, windows [n, context] of token ids and the first position
    that is scored; it yields float logits [context - first, vocabulary] of each window.
    """

    name: str
    packages: tuple[str, ...]
    quantise: Callable[[Inputs, Path, Mapping[str, Any]], None]
    runtime: str
    schemes: tuple[Scheme, ...]
    needs: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    suffix: str = ""

    @property
    def module(self) -> str:
        """The module that holds this record as PEER."""
        return self.quantise.__module__

    @property
    def runs_itself(self) -> bool:
        """Whether its own runtime scores what it wrote."""
        return ":" in self.runtime
