"""Tasks of lm-evaluation-harness over rows of a recipe, and the table of what came out."""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
from rich.console import Console
from rich.table import Table

from scripts.chat.speaker import Speaker
from scripts.errors import QuantmakeError, RecipeError
from scripts.harness.adapter import Artefact
from scripts.recipe.problems import listed, nearest
from scripts.recipe.recipe import Recipe, Row

Figures = dict[tuple[str, str], tuple[float, float | None]]


@dataclass(frozen=True)
class Asked:
    """What to run: names of tasks, a folder with more of them or "", and their limits."""

    tasks: tuple[str, ...]
    include: str
    fewshot: int | None
    limit: int | None


def run(recipe: Recipe, rows: list[Row], asked: Asked) -> int:
    """Each row in turn, the FP16 base first; 1 where one could not be measured.

    Raises RecipeError for a task that the harness does not have, QuantmakeError where a task's
    data can't be had.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    os.environ.setdefault("TQDM_DISABLE", "1")
    manager = TaskManager(include_path=asked.include or None)
    _refuse_unknown(manager, asked.tasks)
    console = Console(highlight=False, emoji=False)
    measured: dict[str, Figures] = {}
    failed = False
    for row in rows:
        try:
            speaker = Speaker(recipe, row)
        except QuantmakeError as error:
            console.print(f"{row.name}: {error}", markup=False, style="red")
            failed = True
            continue
        measured[row.name] = _figures(Artefact(speaker, row.name), manager, asked)
    console.print(table(measured))
    return int(failed)


def _refuse_unknown(manager: TaskManager, names: tuple[str, ...]) -> None:
    known = set(manager.all_tasks)
    for name in names:
        if name not in known:
            raise RecipeError(
                f"lm-evaluation-harness has no task {name!r}{nearest(name, known)}; "
                f"it knows {len(known):,}, and those of the folder in --include"
            )


def _figures(model: Artefact, manager: TaskManager, asked: Asked) -> Figures:
    """Each metric of each task with its standard error, where it has one."""
    try:
        results: Any = simple_evaluate(
            model=model,
            tasks=list(asked.tasks),
            num_fewshot=asked.fewshot,
            limit=asked.limit,
            task_manager=manager,
            log_samples=False,
        )
    except (OSError, ConnectionError) as error:
        raise QuantmakeError(
            f"the data of {listed(asked.tasks)} can't be had ({error}); the harness takes it from "
            "its own cache or from the hub"
        ) from None
    return dict(_read(results["results"]))


def _read(results: dict[str, dict[str, Any]]) -> Iterator[Any]:
    for task, metrics in sorted(results.items()):
        for key, value in metrics.items():
            metric, _, filtered = key.partition(",")
            if not filtered or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            error = metrics.get(f"{metric}_stderr,{filtered}")
            name = metric if filtered == "none" else f"{metric} ({filtered})"
            yield (task, name), (value, error if isinstance(error, float) else None)


def table(measured: dict[str, Figures]) -> Table:
    """A line for each task and metric, a column for each row of the recipe."""
    made = Table("task", "metric", title="lm-evaluation-harness")
    for name in measured:
        made.add_column(name, justify="right", overflow="fold")
    keys = dict.fromkeys(key for figures in measured.values() for key in figures)
    for task, metric in keys:
        cells = [_cell(figures.get((task, metric))) for figures in measured.values()]
        made.add_row(task, metric, *cells)
    return made


def _cell(figure: tuple[float, float | None] | None) -> str:
    if figure is None:
        return "–"
    value, error = figure
    return f"{value:.4f}" if error is None else f"{value:.4f} ± {error:.4f}"
