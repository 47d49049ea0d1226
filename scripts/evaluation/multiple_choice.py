"""Multiple-choice sets: scored by the log-likelihood of each choice per byte of its text.

A set is a JSONL file; each line has `question`, `choices` (two texts or more) and `answer`, the
right one's place, counted from 0. The length normalisation is that of `acc_norm` in EleutherAI's
lm-evaluation-harness.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scripts.backends.model import Scorer, Tokens
from scripts.errors import QuantmakeError
from scripts.evaluation.result import Estimate, TaskScore
from scripts.progress import track
from scripts.strict import Strict
from scripts.texts import bos_of, text_file

SCORED = "tasks.json"
_Text = Annotated[str, Field(min_length=1)]


class Line(BaseModel):
    """A line of the file; other keys are left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    question: _Text
    choices: Annotated[list[_Text], Field(min_length=2)]
    answer: Annotated[int, Field(ge=0)]


class Item(Strict):
    """A question and its choices as token ids, the choices' lengths in bytes, the right one."""

    question: list[int]
    choices: list[list[int]]
    lengths: list[int]
    answer: int


class Task(Strict):
    """The items of a set, and the choice of each that the FP16 base takes."""

    items: list[Item]
    base: list[int]

    @property
    def longest(self) -> int:
        """Tokens of the longest question with a choice."""
        return max(
            len(item.question) + len(choice) for item in self.items for choice in item.choices
        )


def read_items(path: Path, tokenizer: Any, name: str) -> list[Item]:
    """The items of the set `name`; raises QuantmakeError that names the line at fault."""
    start = bos_of(tokenizer)

    def ids(text: str) -> list[int]:
        return list(map(int, tokenizer(text, add_special_tokens=False)["input_ids"]))

    items = []
    for number, line in _lines(path, name):
        if line.answer >= len(line.choices):
            raise QuantmakeError(
                f"the task {name}, line {number}: answer {line.answer}, but there are "
                f"{len(line.choices)} choices, counted from 0"
            )
        texts = [choice if choice[0].isspace() else f" {choice}" for choice in line.choices]
        items.append(
            Item(
                question=([] if start is None else [start]) + ids(line.question.rstrip()),
                choices=[ids(text) for text in texts],
                lengths=[len(text.encode()) for text in texts],
                answer=line.answer,
            )
        )
    if not items:
        raise QuantmakeError(f"the task {name} has no line; give it one question at least")
    return items


def _lines(path: Path, name: str) -> Iterator[tuple[int, Line]]:
    for number, text in enumerate(text_file(path).read_text("utf-8").splitlines(), 1):
        if not text.strip():
            continue
        try:
            yield number, Line.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the line"
            raise QuantmakeError(
                f"the task {name}, line {number}: {where}: {first['msg']}; a line is such as "
                '{"question": "…", "choices": ["…", "…"], "answer": 0}'
            ) from None


def sequences(item: Item) -> list[Tokens]:
    """What a model reads to choose: the question with each choice, less its last token."""
    return [np.array(item.question + choice, np.int64)[:-1] for choice in item.choices]


def choose(model: Scorer, item: Item) -> int:
    """The choice with the highest log-likelihood per byte."""
    scores = []
    for tokens, choice, length in zip(sequences(item), item.choices, item.lengths, strict=True):
        logits = model.scores(tokens, len(item.question) - 1).astype(np.float64)
        top = logits.max(-1, keepdims=True)
        logprobs = logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))
        scores.append(logprobs[np.arange(len(choice)), choice].sum() / length)
    return int(np.argmax(scores))


def write_scored(tasks: dict[str, list[Item]], model: Scorer, folder: Path) -> None:
    """Keep the items with the base's choices."""
    scored = {
        name: Task(items=items, base=[choose(model, one) for one in track(items, name)])
        for name, items in tasks.items()
    }
    text = json.dumps({name: task.model_dump() for name, task in scored.items()}, sort_keys=True)
    (folder / SCORED).write_text(text + "\n")


def read_scored(reference: Path) -> dict[str, Task]:
    """The tasks of a reference by name; none where it has none."""
    path = reference / SCORED
    if not path.is_file():
        return {}
    return {name: Task(**task) for name, task in json.loads(path.read_text()).items()}


def score_task(task: Task, model: Scorer | None, name: str) -> TaskScore:
    """How a model does on a task, beside the base; without a model, the base itself."""
    base = np.array(task.base)
    mine = (
        base if model is None else np.array([choose(model, one) for one in track(task.items, name)])
    )
    right = np.array([item.answer for item in task.items])
    return TaskScore(
        items=len(right),
        accuracy=_share(mine == right),
        agreement=_share(mine == base),
        lost=int(((base == right) & (mine != right)).sum()),
        won=int(((base != right) & (mine == right)).sum()),
    )


def _share(hits: NDArray[np.bool_]) -> Estimate:
    """A share with its binomial standard error."""
    share = float(hits.mean())
    return Estimate(value=share, se=float(np.sqrt(share * (1 - share) / len(hits))))
