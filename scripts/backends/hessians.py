"""The Hessians of a folder's weights, refused beforehand where they say nothing."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from scripts.calibration.stored import Captured
from scripts.errors import QuantmakeError

_OUTCOME = "is rounded to nearest: the capture has not seen its inputs"


class Hessians:
    """What the capture tells of weights, which are named as the base's tensors are.

    `unseen` are those of which it tells nothing; they are rounded to nearest where `on_unsupported`
    is `rtn`. Raises QuantmakeError that names these otherwise, and every weight with a Hessian that
    is all zero or not finite.
    """

    def __init__(self, capture: Path, weights: Iterable[str], on_unsupported: str) -> None:
        self._captured = Captured(capture)
        known = set(self._captured.names)
        self._names = {weight: weight.removesuffix(".weight") for weight in sorted(weights)}
        self.unseen = [weight for weight, name in self._names.items() if name not in known]
        if self.unseen and on_unsupported == "error":
            raise QuantmakeError(
                f"the capture has not seen the inputs of {len(self.unseen)} weights: "
                f"{', '.join(self.unseen)}. Give the calibration more tokens (`calibration.tokens` "
                "in the recipe), or set on_unsupported to rtn."
            )
        self._refuse_unusable()

    @property
    def seen(self) -> list[str]:
        """Those of which it tells something."""
        return [one for one in self._names if one not in self.unseen]

    @property
    def outcomes(self) -> dict[str, str]:
        """What becomes of the unseen ones, in words."""
        return dict.fromkeys(self.unseen, _OUTCOME)

    def of(self, weight: str) -> torch.Tensor:
        """H [K, K], float32, of one that was seen."""
        return torch.from_numpy(self._captured.hessian(self._names[weight]))

    def source_of(self, weight: str) -> str:
        """The same name for weights that have one Hessian."""
        return self._captured.source_of(self._names[weight])

    def _refuse_unusable(self) -> None:
        sources = {one: self.source_of(one) for one in self.seen}
        broken = set()
        for source in sorted(set(sources.values())):
            hessian = self._captured.hessian(source)
            if not np.isfinite(hessian).all() or not hessian.diagonal().any():
                broken.add(source)
        bad = [weight for weight, source in sources.items() if source in broken]
        if bad:
            raise QuantmakeError(
                f"the inputs of {', '.join(bad)} are all zero or not finite over the calibration's "
                "text, so the capture says nothing of them; the base model or the text is broken"
            )
