"""The rows as a table: in the terminal, and in docs/peers.md."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rich.table import Table

from scripts.backends.table import BACKENDS
from scripts.benchmarks.measure import table
from scripts.benchmarks.peer import Peer
from scripts.benchmarks.peers.bench import OURS
from scripts.benchmarks.peers.records import Failed, Measured

PAGE, MARK = Path("docs/peers.md"), "generated: peers"
_NONE = "–"
Outcome = Measured | Failed | None


@dataclass(frozen=True)
class Line:
    """One line: who made it, of what scheme, and what came out; None where nobody has run it."""

    tool: str
    scheme: str
    outcome: Outcome


@dataclass(frozen=True)
class Group:
    """Lines of one scheme: those of peers, then ours."""

    lines: tuple[Line, ...]

    @property
    def best(self) -> float | None:
        """The smallest of their worst KLDs, where there are several."""
        found = [one.outcome.worst for one in self.lines if isinstance(one.outcome, Measured)]
        return min(found) if len(found) > 1 else None


def grouped(
    peers: Iterable[Peer], outcomes: Mapping[tuple[str, str], Outcome]
) -> tuple[Group, ...]:
    """Rows that stand beside the same artefact of ours, in the order of the peers; `outcomes` by
    tool and scheme, ours by the recipe's line."""
    by_ours: dict[str, list[Line]] = {}
    for peer in peers:
        for scheme in peer.schemes:
            line = Line(peer.name, scheme.name, outcomes.get((peer.name, scheme.name)))
            by_ours.setdefault(scheme.ours, []).append(line)
    return tuple(
        Group((*lines, Line(OURS, ours, outcomes.get((OURS, ours)))))
        for ours, lines in by_ours.items()
    )


def kinds_of(groups: Iterable[Group]) -> list[str]:
    """The kinds of text that were scored."""
    lines = (line.outcome for group in groups for line in group.lines)
    measured = (one for one in lines if isinstance(one, Measured))
    return next(([text.kind for text in one.texts] for one in measured), [])


def columns(kinds: Sequence[str]) -> tuple[str, ...]:
    """The heads of the columns."""
    return ("tool", "scheme", "MB", *kinds, "worst", "minutes", "CPU minutes", "GB")


def cells(outcome: Outcome, kinds: Sequence[str]) -> tuple[str, ...]:
    """What follows the scheme: MB, KLDs, minutes, GB."""
    if not isinstance(outcome, Measured):
        return (_NONE,) * (5 + len(kinds))
    klds = {one.kind: one.quality.kld_mean.value for one in outcome.texts}
    cost, before = outcome.made.cost, outcome.made.before
    shared = f" + {before / 60:.1f}" if before else ""
    return (
        f"{outcome.bytes / 1e6:.1f}",
        *(f"{klds[kind]:.4f}" for kind in kinds),
        f"{outcome.worst:.4f}",
        f"{cost.seconds / 60:.2f}{shared}",
        f"{cost.cpu_seconds / 60:.2f}",
        f"{cost.memory / 1e9:.1f}",
    )


def terminal(groups: Sequence[Group]) -> Table:
    """For the terminal: no more than its width has room for."""
    names = ("tool and scheme", "MB", "worst KLD", "minutes", "CPU", "GB")
    made = table("KLD in nats beside the FP16 base", names, ())
    for group in groups:
        for line in group.lines:
            megabytes, *rest = cells(line.outcome, ())
            made.add_row(f"{line.tool}, {line.scheme}", megabytes, *rest)
        made.add_section()
    return made


def markdown(
    peers: Sequence[Peer],
    groups: Sequence[Group],
    bases: Mapping[str, Outcome],
    machine: str,
) -> str:
    """All that is generated of docs/peers.md; `bases` are the base by each runtime."""
    kinds = kinds_of(groups)
    rows = [
        (*_names(line), *_marked(cells(line.outcome, kinds), line.outcome, group.best, kinds))
        for group in groups
        for line in group.lines
        if isinstance(line.outcome, Measured)
    ]
    exact = [
        (name, *(cells(one, kinds)[1 : 1 + len(kinds)]))
        for name, one in bases.items()
        if isinstance(one, Measured)
    ]
    parts = [
        f"Measured on {machine}.\n",
        rows_of(columns(kinds), rows),
        "The base itself through the same ways, KLD in nats:\n",
        rows_of(("computed by", *kinds), exact),
        "### Versions\n",
        rows_of(("tool", "packages"), [(one.name, _packages(one)) for one in peers]),
        "### What was called\n",
        rows_of(
            ("tool", "scheme", "call"),
            [
                (one.name, scheme.name, _call(scheme.call, scheme.note))
                for one in peers
                for scheme in one.schemes
            ],
        ),
        *_failures(groups),
    ]
    return "\n".join(parts)


def _names(line: Line) -> tuple[str, str]:
    return (f"**{OURS}**", f"`{line.scheme}`") if line.tool == OURS else (line.tool, line.scheme)


def _marked(
    line: tuple[str, ...], outcome: Outcome, best: float | None, kinds: Sequence[str]
) -> tuple[str, ...]:
    """The best worst KLD of a group in bold."""
    place = 1 + len(kinds)
    if isinstance(outcome, Measured) and outcome.worst == best:
        return (*line[:place], f"**{line[place]}**", *line[place + 1 :])
    return line


def _packages(peer: Peer) -> str:
    own = () if peer.packages else BACKENDS[peer.runtime].packages
    named = peer.packages or tuple(f"{one}=={metadata.version(one)}" for one in own)
    return ", ".join(f"`{one}`" for one in named)


def _call(call: str, note: str) -> str:
    return f"`{call}`" + (f" {note}" if note else "")


def _failures(groups: Sequence[Group]) -> list[str]:
    """Those of which there is no figure, and why."""
    reasons = [
        (line, line.outcome.reason if line.outcome else "not run yet")
        for group in groups
        for line in group.lines
        if not isinstance(line.outcome, Measured)
    ]
    lines = [f"- {line.tool}, {line.scheme}: {reason}" for line, reason in reasons]
    return ["### Not measured\n", "\n".join(lines) + "\n"] if lines else []


def rows_of(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = (head, ("---",) * len(head), *rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def renewed(page: str, generated: str, mark: str) -> str:
    """The page with what is generated put between its marks."""
    between = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- end -->)", re.DOTALL)
    return between.sub(lambda block: f"{block[1]}\n{generated}\n{block[2]}", page)
