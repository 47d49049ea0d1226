"""What the steps of the methods gain, alone and together, on the default recipe's texts.

    python -m scripts.benchmarks.peers.ablation [GROUP …] [--recipe NAME] [--only-kept] [--write]

Each line is built from the recipe's own calibration and scored as the peers are. What is measured
already is not run again; `--write` puts the table into docs/recipe.md.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from scripts.benchmarks.measure import table
from scripts.benchmarks.peers.bench import Bench
from scripts.benchmarks.peers.nodes import bench_of, build_nodes, recipe_named
from scripts.benchmarks.peers.records import Failed, Measured
from scripts.benchmarks.peers.table import renewed, rows_of
from scripts.engine.run.children import Interrupted, handle_signals
from scripts.errors import QuantmakeError

PAGE, MARK = Path("docs/recipe.md"), "measured: ablation"
_TUNED = "tune: {tokens: 30720}"
_DYNAMIC, _STATIC = (f"format: onnx, bits: 8, method: {one}" for one in ("dynamic", "static"))
GROUPS: Mapping[str, tuple[str, ...]] = {
    "gguf-small": (
        "{format: gguf, type: q4_0}",
        "{format: gguf, type: q4_0, imatrix: true}",
        "{format: gguf, type: iq4_nl, imatrix: true}",
        "{format: gguf, type: q4_0, method: gptq}",
        "{format: gguf, type: auto, like: q4_0}",
        "{format: gguf, type: auto, like: q4_0, method: gptq}",
    ),
    "gguf-medium": (
        "{format: gguf, type: q4_k_m}",
        "{format: gguf, type: q4_k_m, imatrix: true}",
        "{format: gguf, type: q4_k_m, method: gptq}",
        "{format: gguf, type: auto, like: q4_k_m}",
        "{format: gguf, type: auto, like: q4_k_m, method: gptq}",
    ),
    "nf4": (
        "{format: bitsandbytes}",
        f"{{format: bitsandbytes, {_TUNED}}}",
        "{format: bitsandbytes, method: gptq}",
        f"{{format: bitsandbytes, method: gptq, {_TUNED}}}",
    ),
    "int4": (
        "{format: onnx, bits: 4, method: rtn}",
        "{format: onnx, bits: 4, method: hqq}",
        "{format: onnx, bits: 4, method: awq}",
        "{format: onnx, bits: 4, method: gptq}",
        f"{{format: onnx, bits: 4, method: gptq, {_TUNED}}}",
        "{format: onnx, bits: auto, method: gptq}",
        f"{{format: onnx, bits: auto, method: gptq, {_TUNED}}}",
    ),
    "int8": (
        "{format: onnx, bits: 8, method: rtn}",
        "{format: onnx, bits: 8, method: gptq}",
    ),
    "int8-dynamic": (
        f"{{{_DYNAMIC}, smooth: false, rounding: rtn}}",
        f"{{{_DYNAMIC}, smooth: false}}",
        f"{{{_DYNAMIC}, rounding: rtn}}",
        f"{{{_DYNAMIC}}}",
    ),
    "int8-static": (
        f"{{{_STATIC}, smooth: false, rounding: rtn}}",
        f"{{{_STATIC}, smooth: false}}",
        f"{{{_STATIC}, rounding: rtn}}",
        f"{{{_STATIC}}}",
        f"{{{_STATIC}, weight_only: auto, max_kld: 0.012}}",
    ),
}
"""Recipe lines by group: the plain one, each step alone, then together."""

Outcomes = Mapping[str, Measured | Failed | None]


def main(given: Sequence[str]) -> int:
    """Measure, print, and write the page where that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m scripts.benchmarks.peers.ablation")
    parser.add_argument("groups", nargs="*", help=f"of {', '.join(GROUPS)}")
    parser.add_argument("--recipe", help="by its name [default: the default recipe]")
    parser.add_argument("--only-kept", action="store_true", help="run nothing, show what is kept")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE}")
    asked = parser.parse_args(given)
    if unknown := [name for name in asked.groups if name not in GROUPS]:
        parser.error(f"unknown groups: {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    console = Console()
    handle_signals()
    lines = [line for name in asked.groups or GROUPS for line in GROUPS[name]]
    try:
        recipe = recipe_named(asked.recipe)
        bench = bench_of(recipe, console)
        if not asked.only_kept:
            build_nodes(recipe, lines)
            _measure(bench, lines, console)
        outcomes = {line: bench.kept(bench.row_of_ours(line)) for line in sum(GROUPS.values(), ())}
        console.print(_terminal({line: outcomes[line] for line in lines}))
        if asked.write:
            page = PAGE.read_text("utf-8")
            PAGE.write_text(renewed(page, markdown(outcomes), MARK), "utf-8")
    except QuantmakeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except Interrupted as interrupted:
        return 128 + interrupted.number
    return 0


def _measure(bench: Bench, lines: Sequence[str], console: Console) -> None:
    for line in lines:
        outcome = bench.measure(bench.row_of_ours(line))
        said = outcome.reason if isinstance(outcome, Failed) else f"{outcome.worst:.4f} nats"
        console.print(f"  {line}: {said}", highlight=False, markup=False)


def cells(outcome: Measured) -> tuple[str, ...]:
    """MB, the KLD of each kind of text with its standard error, minutes."""
    klds = [one.quality.kld_mean for one in outcome.texts]
    return (
        f"{outcome.bytes / 1e6:.1f}",
        *(f"{one.value:.4f} ± {one.se:.4f}" for one in klds),
        f"{outcome.made.cost.seconds / 60:.1f}",
    )


def _terminal(outcomes: Outcomes) -> Table:
    """For the terminal: no more than its width has room for."""
    made = table("KLD in nats beside the FP16 base", ("line", "MB", "worst KLD", "minutes"), ())
    for line, outcome in outcomes.items():
        if isinstance(outcome, Measured):
            megabytes, *_, minutes = cells(outcome)
            made.add_row(line, megabytes, f"{outcome.worst:.4f}", minutes)
    return made


def markdown(outcomes: Outcomes) -> str:
    """The table, its groups in their order; lines that nobody has measured are left out."""
    measured = [(line, one) for line, one in outcomes.items() if isinstance(one, Measured)]
    if not measured:
        raise QuantmakeError("nothing is measured yet; run it without --only-kept first")
    kinds = [one.kind for one in measured[0][1].texts]
    head = ("artefact", "MB", *kinds, "minutes")
    return rows_of(head, [(f"`{line}`", *cells(one)) for line, one in measured])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
