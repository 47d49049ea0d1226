"""The rows of a report: the float model in each runtime, then the artefacts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scripts.evaluation.budget import Break, Missing
from scripts.evaluation.result import Evaluation
from scripts.evaluation.sensitivity import Sensitivity
from scripts.report.yardsticks import Yardstick, yardstick_of


@dataclass(frozen=True)
class Lineup:
    """`baselines` starts with the FP16 base, which everything is compared with.

    `missing` are rows that could not be measured; `breaks` the budgets that artefacts broke;
    `sensitivity` is what rounding each layer alone does, where that was measured.
    """

    baselines: tuple[Evaluation, ...]
    artifacts: tuple[Evaluation, ...]
    missing: tuple[Missing, ...] = ()
    breaks: tuple[Break, ...] = ()
    sensitivity: Sensitivity | None = None

    @property
    def base(self) -> Evaluation:
        """The FP16 base."""
        return self.baselines[0]

    @property
    def yardstick(self) -> Yardstick:
        """What the rows are measured by."""
        return yardstick_of(self.base)

    @property
    def rows(self) -> tuple[Evaluation, ...]:
        """All rows, in the order of the tables."""
        return (*self.baselines, *self.artifacts)

    @property
    def offered(self) -> tuple[Evaluation, ...]:
        """The artefacts to choose from: those that keep their budgets, or all where none does."""
        broke = {one.artifact for one in self.breaks}
        return tuple(row for row in self.artifacts if row.artifact not in broke) or self.artifacts

    def is_baseline(self, row: Evaluation) -> bool:
        """Whether the row is the float model and no artefact."""
        return any(row is baseline for baseline in self.baselines)

    def float_model(self, row: Evaluation) -> Evaluation:
        """The float model in the runtime of `row`, so that runtime and quantisation stay apart."""
        own = (one for one in self.baselines if one.backend == row.backend)
        return next(own, self.base)

    def name(self, row: Evaluation) -> str:
        """The artefact as code; a baseline, which is not shipped, in italics."""
        return f"*{row.label}*" if self.is_baseline(row) else code(row.artifact)


def distance(row: Evaluation) -> float:
    """Mean distance from the base: KL divergence in nats, of an encoder 1 − cosine."""
    return yardstick_of(row).distance(row).value


def answering(row: Evaluation) -> float:
    """Median decode speed, tokens per second; of an encoder sentences per second in batches."""
    return yardstick_of(row).answering(row).median


def reading(row: Evaluation) -> float:
    """Median prefill speed, tokens per second; of an encoder sentences per second, one by one."""
    return yardstick_of(row).reading(row).median


def megabytes(row: Evaluation) -> float:
    """Size on disk, in 10^6 bytes."""
    return row.size.bytes / 1e6


def by_size(row: Evaluation) -> tuple[int, float]:
    """Sorts the smallest first, and of equal sizes the closest."""
    return row.size.bytes, distance(row)


def frontier(rows: Sequence[Evaluation]) -> list[Evaluation]:
    """The rows that no other one beats in both size and distance, smallest first."""
    best: list[Evaluation] = []
    for row in sorted(rows, key=by_size):
        if not best or distance(row) < distance(best[-1]):
            best.append(row)
    return best


def code(text: str) -> str:
    """`text` as code in Markdown."""
    return f"`{text}`"


def listed(names: Iterable[str]) -> str:
    """`a`, `b` and `c`."""
    *most, last = map(code, names)
    return f"{', '.join(most)} and {last}" if most else last
