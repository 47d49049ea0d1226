"""What rows are made from and scored by: the nodes of a recipe's graph, which doit builds."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from scripts.benchmarks.peers.bench import Bench, format_of
from scripts.benchmarks.peers.scoring import Yardstick
from scripts.errors import MachineError, QuantmakeError
from scripts.recipe.load import load_all
from scripts.recipe.recipe import Recipe

_FOLDER = Path("cache/peers")
_NODES = ("base", "calibration", "reference", "capture", "gradients", "graph", "f16")
_ALWAYS = {"base", "calibration", "reference"}


def recipe_named(name: str | None) -> Recipe:
    """A recipe by its name, without one the default; raises QuantmakeError where there is none."""
    recipes = {one.name: one for one in load_all()}
    if name is None:
        return next(iter(recipes.values()))
    if name not in recipes:
        raise QuantmakeError(f"there is no recipe {name!r}; there are {', '.join(recipes)}")
    return recipes[name]


def bench_of(recipe: Recipe, console: Console, *, windows: int = 0, again: bool = False) -> Bench:
    """The bench of a recipe's nodes, which tells the console what is being done."""
    nodes = {one: recipe.node("f16.gguf" if one == "f16" else one) for one in _NODES}
    return Bench(
        nodes=nodes,
        folder=_FOLDER / recipe.name,
        environments=_FOLDER,
        yardstick=Yardstick(nodes["reference"], windows),
        again=again,
        say=lambda text: console.print(f"  … {text}", highlight=False, markup=False),
    )


def build_nodes(recipe: Recipe, lines: Iterable[str], others: Iterable[str] = ()) -> None:
    """Have doit build what the artefacts of a recipe's lines are made from, and other nodes.

    Raises MachineError where it fails.
    """
    needs = {need for line in lines for need in format_of(line).needed()}
    tasks = [recipe.task(need) for need in sorted({*needs, *_ALWAYS, *others})]
    if subprocess.run([sys.executable, "-m", "doit", *tasks], check=False).returncode:
        raise MachineError(f"doit could not build {', '.join(tasks)}; see what it says above")
