"""A type for each tensor, so that the file keeps to a size: the knapsack with multiple choices."""

from dataclasses import dataclass
from itertools import pairwise


class TooSmallError(ValueError):
    """The smallest types together take `missing` bytes more than there are."""

    def __init__(self, missing: int) -> None:
        super().__init__(f"{missing} bytes are missing")
        self.missing = missing


@dataclass(frozen=True)
class Choice:
    """A type that a tensor can have: the bytes it takes, the loss it costs (in nats)."""

    type: str
    bytes: int
    loss: float


def allocate(choices: dict[str, list[Choice]], budget: int) -> dict[str, Choice]:
    """One choice for each tensor, within `budget` bytes together and of little loss.

    All start with the smallest; the steps along each tensor's lower convex hull are then taken
    in order of the loss that they save for each byte, which is optimal but for the last step
    (Sinha and Zoltners, 1979, doi:10.1287/opre.27.3.503, section 1).
    Raises TooSmallError where not even the smallest types fit.
    """
    hulls = {name: _hull(offered) for name, offered in choices.items()}
    chosen = {name: hull[0] for name, hull in hulls.items()}
    left = budget - sum(choice.bytes for choice in chosen.values())
    if left < 0:
        raise TooSmallError(-left)
    steps = [
        (_saved(before, after), name, place)
        for name, hull in hulls.items()
        for place, (before, after) in enumerate(pairwise(hull))
    ]
    for _, name, place in sorted(steps, key=lambda step: (-step[0], step[1])):
        before, after = hulls[name][place], hulls[name][place + 1]
        # A step on top of one that did not fit does not fit either.
        if chosen[name] is before and after.bytes - before.bytes <= left:
            chosen[name] = after
            left -= after.bytes - before.bytes
    return chosen


def _saved(before: Choice, after: Choice) -> float:
    """Loss that a step saves for each byte that it takes."""
    return (before.loss - after.loss) / (after.bytes - before.bytes)


def _hull(offered: list[Choice]) -> list[Choice]:
    """The choices of growing size with a falling return on each byte."""
    hull: list[Choice] = []
    for choice in sorted(offered, key=lambda one: (one.bytes, one.loss)):
        if hull and (choice.bytes == hull[-1].bytes or choice.loss >= hull[-1].loss):
            continue
        while len(hull) > 1 and _saved(hull[-1], choice) >= _saved(hull[-2], hull[-1]):
            hull.pop()
        hull.append(choice)
    return hull
