"""Tasks of lm-evaluation-harness over rows of a recipe, and the table of what came out."""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lm_eval import simple_evaluate
from lm_eval.api.model import TemplateLM
from lm_eval.tasks import TaskManager
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from rich.console import Console
from rich.table import Table

from scripts.chat.speaker import Sampling, Speaker, answer
from scripts.errors import QuantmakeError, RecipeError
from scripts.progress import track
from scripts.recipe.problems import listed, nearest
from scripts.recipe.recipe import Recipe, Row
from scripts.texts import bos_of

_MAX_TOKENS = 256  # tokens of a generated answer, where a task names no limit


class Artefact(TemplateLM):  # type: ignore[misc]
    """Texts in, log-likelihoods and completions out; token by token as the evaluation does it."""

    def __init__(self, speaker: Speaker, name: str) -> None:
        super().__init__()
        self.tokenizer = speaker.tokenizer
        self._name, self._speaker = name, speaker
        start = bos_of(speaker.tokenizer)
        self._start = [] if start is None else [start]

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text without context."""
        return self._start[0] if self._start else self.eot_token_id

    @property
    def tokenizer_name(self) -> str:
        """For the harness's cache of requests."""
        return self._name

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The conversation as the text that the model is given."""
        text: str = self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        return text

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_: object
    ) -> list[int]:
        """Token ids, with the model's own start unless `add_special_tokens` is false."""
        ids: list[int] = self.tokenizer(string, add_special_tokens=False)["input_ids"]
        starts = add_special_tokens is not False and ids[:1] != self._start
        return self._start * starts + ids

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **_: object
    ) -> list[tuple[float, bool]]:
        return [
            self._score(context, continuation)
            for _texts, context, continuation in track(requests, f"{self._name}: log-likelihoods")
        ]

    def _score(self, context: list[int], continuation: list[int]) -> tuple[float, bool]:
        """The log-likelihood of `continuation`, and whether it is what greedy decoding gives.

        What does not fit into the model's context is left out at the beginning.
        """
        ids = np.array(context + continuation, np.int64)[-(self._speaker.context + 1) :]
        wanted = ids[-len(continuation) :]
        logits = self._speaker.model.scores(ids[:-1], len(ids) - 1 - len(wanted))
        exact = logits.astype(np.float64)
        top = exact.max(-1)
        logprobs = exact[np.arange(len(wanted)), wanted] - top
        logprobs -= np.log(np.exp(exact - top[:, None]).sum(-1))
        return float(logprobs.sum()), bool((exact.argmax(-1) == wanted).all())

    def loglikelihood_rolling(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[float]:
        """The log-likelihood of whole texts, window by window without overlap."""
        return [
            sum(
                self._score(*make_disjoint_window(window))[0]
                for window in get_rolling_token_windows(
                    self.tok_encode(request.args[0], add_special_tokens=False),
                    self.prefix_token_id,
                    self._speaker.context,
                    1,
                )
            )
            for request in requests
        ]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Greedy completions, each up to the first of its task's stop texts."""
        return [
            self._complete(*request.args) for request in track(requests, f"{self._name}: answers")
        ]

    def _complete(self, prompt: str, settings: dict[str, Any]) -> str:
        until = settings.get("until") or []
        stops = [until] if isinstance(until, str) else list(until)
        limit = int(settings.get("max_gen_toks") or settings.get("max_new_tokens") or _MAX_TOKENS)
        ids = self.tok_encode(prompt)[-max(1, self._speaker.context - limit) :]
        given: list[int] = []
        text = ""
        for token in answer(
            self._speaker.model, ids, self._speaker.stop, Sampling(max_tokens=limit)
        ):
            given.append(token)
            text = self.tokenizer.decode(given, skip_special_tokens=True)
            if any(stop in text for stop in stops if stop):
                break
        for stop in filter(None, stops):
            text = text.partition(stop)[0]
        return text


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
