"""A loaded artefact that takes messages: its tokenizer, chat template and stop tokens."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scripts.backends.model import load_model
from scripts.chat.answer import Sampling, answer, pieces
from scripts.errors import QuantmakeError, RecipeError
from scripts.recipe.problems import listed, nearest
from scripts.recipe.recipe import Recipe, Row
from scripts.texts import load_tokenizer
from scripts.workers import available_cores

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


def refuse_missing(recipe: Recipe, row: Row) -> None:
    """Raise QuantmakeError where the artefact, or the base with its tokenizer, is not built."""
    for path, task in (
        (row.path, str(row.path)),
        (recipe.node("base"), recipe.task("base")),
    ):
        if not path.exists():
            raise QuantmakeError(f"{path} is not built yet; run `doit {task}` first")


class Speaker:
    """One artefact that answers. Raises QuantmakeError where it is not built or does not load."""

    def __init__(self, recipe: Recipe, row: Row) -> None:
        refuse_missing(recipe, row)
        base = recipe.node("base")
        self.tokenizer = load_tokenizer(base)
        config = json.loads((base / "config.json").read_text())
        self.context = min(int(config.get("max_position_embeddings", _CONTEXT)), _CONTEXT)
        self.stop = _stop_tokens(base, config)
        self.model = load_model(
            row.backend, row.path, threads=available_cores(), context=self.context
        )

    def ids(self, messages: Messages) -> list[int]:
        """The conversation as token ids; without a chat template, the texts one after another."""
        if self.tokenizer.chat_template:
            ids = self.tokenizer.apply_chat_template(list(messages), add_generation_prompt=True)
        else:
            ids = self.tokenizer("\n".join(one["content"] for one in messages))["input_ids"]
        return [int(token) for token in ids]

    def say(self, messages: Messages, sampling: Sampling) -> Iterator[str]:
        """The answer, piece by piece. Raises QuantmakeError where there is no room for it."""
        prompt = self.ids(messages)
        if len(prompt) + sampling.max_tokens > self.context:
            raise QuantmakeError(
                f"the conversation has {len(prompt):,} tokens; with {sampling.max_tokens} for the "
                f"answer it does not fit into {self.context:,}. Begin anew with /reset, or ask for "
                "fewer with --max-tokens."
            )
        yield from pieces(answer(self.model, prompt, self.stop, sampling), self.tokenizer)


def _stop_tokens(base: Path, config: dict[str, Any]) -> list[int]:
    generation = base / "generation_config.json"
    if generation.exists():
        config = json.loads(generation.read_text())
    stops = config.get("eos_token_id") or []
    return stops if isinstance(stops, list) else [stops]
