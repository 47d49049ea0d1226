"""What the benchmarks share: arms that take turns, and a table of what came out."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from rich.table import Table

from scripts.evaluation.result import Spread

FIGURES = ("median", "min", "max")


def in_turn(arms: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, Spread]:
    """What each arm measures, `repeats` times after a warm-up.

    They take turns, so that a busy machine slows all of them.
    """
    rounds = [{name: arm() for name, arm in arms.items()} for _ in range(repeats + 1)][1:]
    return {name: Spread.of([measured[name] for measured in rounds]) for name in arms}


def figures(spread: Spread, digits: int) -> list[str]:
    """The cells for FIGURES."""
    return [f"{getattr(spread, name):.{digits}f}" for name in FIGURES]


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], caption: str = ""
) -> Table:
    """A table for the terminal: the first column is of names, the others of numbers."""
    made = Table(title=title, caption=caption or None)
    for column in columns:
        made.add_column(column, justify="right" if made.columns else "left")
    for row in rows:
        made.add_row(*row)
    return made
