"""A loaded artefact that takes messages and answers, token by token."""

import json
import logging
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scripts.backends.model import Logits, Model, load_model
from scripts.errors import QuantmakeError, RecipeError
from scripts.evaluation.reference import chat_ids, stop_tokens
from scripts.recipe.problems import listed, nearest
from scripts.recipe.recipe import Recipe, Row
from scripts.texts import load_tokenizer
from scripts.workers import available_cores

_HALF = "\ufffd"  # what a tokenizer gives for bytes that are no whole character yet


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: temperature 0 takes the most likely one."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    max_tokens: int = 256


def chooser(sampling: Sampling) -> Callable[[Logits], int]:
    """Chooses a token from logits [vocabulary]; top-p is nucleus sampling (arXiv:1904.09751)."""
    if sampling.temperature <= 0:
        return lambda logits: int(logits.argmax())
    generator = np.random.default_rng(sampling.seed)

    def choose(logits: Logits) -> int:
        scaled = logits.astype(np.float64) / sampling.temperature
        weights = np.exp(scaled - scaled.max())
        order = np.argsort(-weights, kind="stable")
        kept = order[: int((weights[order].cumsum() < sampling.top_p * weights.sum()).sum()) + 1]
        return int(generator.choice(kept, p=weights[kept] / weights[kept].sum()))

    return choose


def answer(
    model: Model, prompt: Sequence[int], stop: Sequence[int], sampling: Sampling
) -> Iterator[int]:
    """Token ids after `prompt`, up to a stop token or as many as `sampling` allows."""
    choose = chooser(sampling)
    logits = model.prefill(np.array(prompt, np.int64))
    for place in range(sampling.max_tokens):
        token = choose(logits)
        if token in stop:
            return
        yield token
        if place + 1 < sampling.max_tokens:
            logits = model.decode(token)


def _printable(text: str) -> str:
    """Without control characters, by which a model could write anywhere on a terminal."""
    return "".join(one for one in text if one in "\n\t" or unicodedata.category(one) != "Cc")


def pieces(tokens: Iterator[int], tokenizer: Any) -> Iterator[str]:
    """The text of a stream of token ids, in pieces that never end within a character."""
    ids: list[int] = []
    shown = ""
    for token in tokens:
        ids.append(token)
        text = _printable(tokenizer.decode(ids, skip_special_tokens=True))
        if not text.endswith(_HALF) and len(text) > len(shown):
            yield text[len(shown) :]
            shown = text
    whole = _printable(tokenizer.decode(ids, skip_special_tokens=True)) if ids else ""
    rest = whole[len(shown) :]
    if rest:
        yield rest


Messages = Sequence[dict[str, str]]
_CONTEXT = 2048


def find_row(recipe: Recipe, name: str) -> Row:
    """The row that a path below `quantized/`, an artefact's name or `base` stands for.

    Raises RecipeError for a name that the recipe does not have.
    """
    rows = {row.name: row for row in recipe.rows()}
    wanted = name.rstrip("/").removeprefix("./")
    for row in rows.values():
        if wanted in (row.name, str(row.path)):
            return row
    raise RecipeError(
        f"{name!r} is no artefact of {recipe.path}{nearest(wanted, rows)}; there are {listed(rows)}"
    )


class Speaker:
    """One artefact that answers. Raises QuantmakeError where it is not built or does not load."""

    def __init__(self, recipe: Recipe, row: Row) -> None:
        base = recipe.node("base")
        for path, task in ((row.path, row.path), (base, recipe.task("base"))):
            if not path.exists():
                raise QuantmakeError(f"{path} is not built yet; run `doit {task}` first")
        self.tokenizer = load_tokenizer(base)
        config = json.loads((base / "config.json").read_text())
        self.context = min(int(config.get("max_position_embeddings", _CONTEXT)), _CONTEXT)
        self.stop = stop_tokens(base)
        logging.disable(logging.WARNING)  # of libraries: the terminal is for the answers
        self.model = load_model(
            row.backend, row.path, threads=available_cores(), context=self.context
        )

    def say(self, messages: Messages, sampling: Sampling) -> Iterator[str]:
        """The answer, piece by piece. Raises QuantmakeError where there is no room for it."""
        prompt = chat_ids(self.tokenizer, messages)
        if len(prompt) + sampling.max_tokens > self.context:
            raise QuantmakeError(
                f"the conversation has {len(prompt):,} tokens; with {sampling.max_tokens} for the "
                f"answer it does not fit into {self.context:,}. Begin anew with /reset, or ask for "
                "fewer with --max-tokens."
            )
        yield from pieces(answer(self.model, prompt, self.stop, sampling), self.tokenizer)
