"""A checked recipe, and where each node of its graph lies."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.backends.format import Format
from scripts.backends.table import BACKENDS, YARDSTICK
from scripts.cards.subject import Subject
from scripts.devices import Device, resolved
from scripts.engine.session import Limit
from scripts.recipe.model import ChoiceTask, EvaluationText, Header, ModelSource, Passage
from scripts.report.facts import Excerpt, Facts, Yardstick
from scripts.sources.fetch import Fetch

SOURCES = Path("cache/sources")
TOOLCHAIN = Path("cache/toolchain/llama.cpp")


@dataclass(frozen=True)
class Row:
    """One row of the report: an artefact, or the float model in one of the runtimes."""

    name: str
    label: str
    backend: str
    path: Path


def source_folder(fetch: Fetch) -> Path:
    """Where a source is fetched to: named by the digest of all that says what is fetched."""
    said = json.dumps(fetch.model_dump(mode="json"), sort_keys=True)
    return SOURCES / hashlib.sha256(said.encode()).hexdigest()


@dataclass(frozen=True)
class Recipe:
    """One recipe: its name, its parts, and its artefacts by path below `out`."""

    name: str
    path: Path
    header: Header
    artifacts: dict[str, Format]
    is_default: bool

    @property
    def model(self) -> ModelSource:
        """The section `model`."""
        return self.header.model

    @property
    def title(self) -> str:
        """The model's name, for people."""
        return self.model.name or self.name

    @property
    def is_encoder(self) -> bool:
        """Whether the model embeds sentences, and writes no text."""
        return self.model.kind == "encoder"

    @property
    def device(self) -> Device:
        """Where what reads the whole base computes."""
        return resolved(self.header.device)

    @property
    def out(self) -> Path:
        """The folder that the artefacts are built into."""
        return Path("quantized") if self.is_default else Path("quantized") / self.name

    @property
    def lock(self) -> Path:
        """The lock file: what each artefact was made from, and its digests."""
        return self.path.with_suffix(".lock")

    @property
    def report_folder(self) -> Path:
        """The folder that the report and its charts are copied to."""
        return Path() if self.is_default else self.out

    def task(self, kind: str, name: str = "") -> str:
        """A task's name, `kind:name`; for a recipe other than the default `kind@recipe:name`."""
        return kind + ("" if self.is_default else f"@{self.name}") + (f":{name}" if name else "")

    def node(self, kind: str) -> Path:
        """Where an intermediate lies: `base`, `graph`, `calibration`, `reference`, `f16.gguf`, …"""
        return Path("cache") / self.name / kind

    def source(self, section: ModelSource | Passage | ChoiceTask) -> Path:
        """Where the source of a section lies."""
        return source_folder(section.fetch())

    def inputs(self, format: Format) -> dict[str, Path]:
        """The nodes that an artefact of this format is made from, by name."""
        files = {Path(one.float_model.node).stem: one.float_model.node for one in BACKENDS.values()}
        return {need: self.node(files.get(need, need)) for need in format.needed()}

    def baselines(self) -> list[Row]:
        """The float model in each runtime that an artefact of this recipe uses."""
        used = {YARDSTICK, *(format.backend for format in self.artifacts.values())}
        models = dict.fromkeys(one.float_model for one in BACKENDS.values() if one.name in used)
        owner = {one.float_model: one.name for one in reversed(BACKENDS.values())}
        return [Row(one.row, one.label, owner[one], self.node(one.node)) for one in models]

    def rows(self) -> list[Row]:
        """The baselines, then the artefacts in the recipe's order."""
        return self.baselines() + [
            Row(name, format.label(), format.backend, self.out / name)
            for name, format in self.artifacts.items()
        ]

    def facts(self) -> Facts:
        """What the report says of this recipe."""
        on = self.header.evaluation
        return Facts(
            model=self.title,
            source=self.model.source,
            recipe=str(self.path),
            folder=str(self.out),
            off_grid=self.model.off_grid,
            labels={row.name: row.label for row in self.rows()},
            baselines=tuple(row.name for row in self.baselines()),
            artifacts={n: f.model_dump(mode="json") for n, f in self.artifacts.items()},
            budgets=self.header.budgets,
            terms={
                word: text
                for format in self.artifacts.values()
                for word, text in format.words().items()
            },
            yardstick=_yardstick(on),
            kind=self.model.kind,
        )

    def subject(self) -> Subject:
        """What the model cards say of this recipe."""
        return Subject(**dict(self.facts()), card=self.header.card)

    def reference_options(self) -> dict[str, Any]:
        """The options of the stage that makes the yardstick."""
        on = self.header.evaluation
        return on.of_encoder() if self.is_encoder else {**on.options(), "device": self.device}

    def reference_inputs(self) -> dict[str, Path]:
        """What the yardstick is made from: the base, the text, the multiple-choice sets."""
        on = self.header.evaluation
        tasks = {f"task/{name}": self.source(task) for name, task in on.tasks.items()}
        texts = {f"text/{kind}": self.source(text) for kind, text in on.others.items()}
        return {"base": self.node("base"), "text": self.source(on), **texts, **tasks}

    def calibration_inputs(self) -> dict[str, Path]:
        """What the calibration is chosen from: the base, its texts, and those that they are kept
        apart from."""
        one, on = self.header.calibration, self.header.evaluation
        own = {f"text/{kind}": self.source(text) for kind, text in one.others.items()}
        apart = {f"evaluation_text/{kind}": self.source(text) for kind, text in on.others.items()}
        inputs = {"base": self.node("base"), "text": self.source(one), **own}
        return {**inputs, "evaluation_text": self.source(on), **apart}

    def calibration_options(self) -> dict[str, Any]:
        """The options of the stage that chooses the calibration's tokens or sentences."""
        one, apart = self.header.calibration, self.header.evaluation
        own = one.of_encoder() if self.is_encoder else one.options()
        return {**own, "evaluation_lines": apart.lines, "other_lines": apart.other_lines()}

    def row_inputs(self) -> dict[str, Path]:
        """The evaluations of all rows, and their timings."""
        rows = {f"evaluation/{row.name}": self.evaluation(row) for row in self.rows()}
        return {**rows, "timings": self.node("timings.json")}

    def report_inputs(self) -> dict[str, Path]:
        """All that the report is written from."""
        if self.is_encoder:
            return self.row_inputs()
        return {**self.row_inputs(), "sensitivity": self.node("sensitivity.json")}

    def card_inputs(self) -> dict[str, Path]:
        """All that the cards are written from."""
        origins = {f"origin/{name}": self.origin(name) for name in self.artifacts}
        return {"base": self.node("base"), **origins, **self.row_inputs()}

    def origin(self, name: str) -> Path:
        """Where it is kept what the artefact `name` was made from."""
        return self.node("origin") / f"{name}.json"

    def evaluation(self, row: Row) -> Path:
        """Where the evaluation of a row lies."""
        return self.node("evaluation") / f"{row.name}.json"


def _yardstick(on: EvaluationText) -> Yardstick:
    """What the report says of the evaluation's texts."""
    texts: dict[str, Passage] = {on.kind: on, **on.others}
    return Yardstick(
        texts={k: Excerpt(text=one.text, lines=one.lines) for k, one in texts.items()},
        windows=on.windows,
        context=on.context,
        sentences=on.sentences,
    )


def memory_limits(recipes: list[Recipe]) -> Callable[[str], Limit | None]:
    """What a task may need, by its name: `max_memory` of the recipe that it belongs to."""
    limits = {
        "" if one.is_default else one.name: Limit(int(amount), f"max_memory in {one.path}")
        for one in recipes
        if (amount := one.header.max_memory) is not None
    }
    return lambda task: limits.get(task.partition(":")[0].partition("@")[2])


def distinct_sources(recipes: list[Recipe]) -> dict[Path, Fetch]:
    """How to fetch each source that the recipes name, once, by the folder that it goes to."""
    fetches = [fetch for recipe in recipes for fetch in recipe.header.sources().values()]
    return {source_folder(fetch): fetch for fetch in fetches}
