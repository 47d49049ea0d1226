"""Other quantisers and quantmake side by side, on one yardstick.

    python -m scripts.benchmarks.peers [NAME …] [--recipe NAME] [--windows N] [--again] [--write]

Each peer runs in an environment of its own below `cache/peers/`, which is installed first. Same
base, same calibration, same evaluation. What is measured already is not run again, unless `--again`
asks for it; `--write` puts the table into docs/peers.md.
"""

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from rich.console import Console

from scripts.benchmarks.peer import Peer
from scripts.benchmarks.peers import tools
from scripts.benchmarks.peers.bench import OURS, Bench, Row
from scripts.benchmarks.peers.nodes import bench_of, build_nodes, recipe_named
from scripts.benchmarks.peers.records import Failed
from scripts.benchmarks.peers.table import MARK, PAGE, Outcome, grouped, markdown, renewed, terminal
from scripts.engine.run.children import Interrupted, handle_signals
from scripts.errors import QuantmakeError
from scripts.evaluation.timings import describe
from scripts.workers import available_cores


def all_peers() -> list[Peer]:
    """Every peer, in the order of their modules' names."""
    names = sorted(one.name for one in pkgutil.iter_modules(tools.__path__))
    return [importlib.import_module(f"{tools.__name__}.{name}").PEER for name in names]


def main(given: Sequence[str]) -> int:
    """Measure, print, and write the page where that is asked for."""
    known = all_peers()
    parser = argparse.ArgumentParser(prog="python -m scripts.benchmarks.peers")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(one.name for one in known)}")
    parser.add_argument("--recipe", help="by its name [default: the default recipe]")
    parser.add_argument("--windows", type=int, default=0, help="of each kind of text; 0 for all")
    parser.add_argument("--again", action="store_true", help="measure anew what is measured")
    parser.add_argument("--only-kept", action="store_true", help="run nothing, show what is kept")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE}")
    asked = parser.parse_args(given)
    names = [one.name for one in known]
    if unknown := [name for name in asked.names if name not in names]:
        parser.error(f"unknown peers: {', '.join(unknown)}; there are {', '.join(names)}")
    chosen = [one for one in known if one.name in (asked.names or names)]
    console = Console()
    handle_signals()
    try:
        recipe = recipe_named(asked.recipe)
        bench = bench_of(recipe, console, windows=asked.windows, again=asked.again)
        if not asked.only_kept:
            lines = (scheme.ours for peer in chosen for scheme in peer.schemes)
            build_nodes(recipe, lines, {need for peer in chosen for need in peer.needs})
            _measure(bench, chosen, console)
        outcomes = _kept(bench, known)
        groups = grouped(known, outcomes)
        console.print(terminal(grouped(chosen, outcomes)))
        if asked.write:
            bases = {name: one for (name, scheme), one in outcomes.items() if scheme == "base"}
            machine = describe(available_cores(), ())
            said = f"{machine.cpu}, {machine.cores} cores"
            text = markdown(known, groups, bases, said)
            PAGE.write_text(renewed(PAGE.read_text("utf-8"), text, MARK), "utf-8")
    except QuantmakeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except Interrupted as interrupted:
        return 128 + interrupted.number
    return 0


def _measure(bench: Bench, peers: Sequence[Peer], console: Console) -> None:
    rows = [bench.row_of_base(None)]
    rows += [bench.row_of_base(peer) for peer in peers if peer.runs_itself]
    rows += [bench.row_of(peer, scheme) for peer in peers for scheme in peer.schemes]
    lines = dict.fromkeys(scheme.ours for peer in peers for scheme in peer.schemes)
    rows += [bench.row_of_ours(line) for line in lines]
    for row in rows:
        outcome = bench.measure(row)
        if isinstance(outcome, Failed):
            console.print(f"  ✗ {row.name}: {outcome.reason}", highlight=False)
        else:
            console.print(f"  ✓ {row.name}: {outcome.worst:.4f} nats", highlight=False)


def _kept(bench: Bench, peers: Sequence[Peer]) -> dict[tuple[str, str], Outcome]:
    """What is measured, by tool and scheme; `base` is the scheme of the base itself."""
    made: dict[tuple[str, str], Callable[[], Row]] = {
        (OURS, "base"): partial(bench.row_of_base, None)
    }
    for peer in peers:
        if peer.runs_itself:
            made[peer.name, "base"] = partial(bench.row_of_base, peer)
        for scheme in peer.schemes:
            made[peer.name, scheme.name] = partial(bench.row_of, peer, scheme)
            made[OURS, scheme.ours] = partial(bench.row_of_ours, scheme.ours)
    kept = dict[tuple[str, str], Outcome]()
    for name, row in made.items():
        with suppress(OSError):  # a node that it is made from is not built
            kept[name] = bench.kept(row())
    return kept


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
