"""The tables of docs/recipe.md, from the records: `python -m scripts.recipe.options` writes them.

An option is explained where it is declared: by `Field(description=…)`, or by a text below it, which
is in no action key.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from scripts.backends.format import Format, ModelKind, all_formats
from scripts.cards.subject import CardFacts
from scripts.evaluation.budget import Budget
from scripts.recipe.model import (
    CalibrationText,
    ChoiceTask,
    EvaluationText,
    ModelSource,
    OtherCalibrationText,
    Passage,
)
from scripts.recipe.schema import Described

PATH = Path("docs/recipe.md")
SECTIONS: dict[str, type[BaseModel]] = {
    "model": ModelSource,
    "calibration": CalibrationText,
    "calibration_others": OtherCalibrationText,
    "evaluation": EvaluationText,
    "evaluation_others": Passage,
    "tasks": ChoiceTask,
    "budgets": Budget,
    "card": CardFacts,
}
_BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "multipleOf": "a multiple of {}",
}
Json = dict[str, Any]


@dataclass(frozen=True)
class Option:
    """What people may write for one key: its name, default, allowed values and meaning."""

    name: str
    default: str
    allowed: str
    meaning: str

    def cells(self) -> tuple[str, ...]:
        """For a row of a table."""
        return f"`{self.name}`", self.default, self.allowed, self.meaning


def _value(value: object) -> str:
    if value is None or isinstance(value, dict):
        return "none"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _allowed(schema: Json) -> str:
    """The values that a JSON schema allows, in words."""
    if "anyOf" in schema:
        kinds = [one for one in schema["anyOf"] if one.get("type") != "null"]
        if any("(\\w+)?" in str(one.get("pattern")) for one in kinds):
            return "a size, as 98MB"  # pydantic's ByteSize: an integer, or a text with a unit
        return " or ".join(map(_allowed, kinds))
    if "const" in schema or "enum" in schema:
        return ", ".join(map(_value, schema.get("enum") or [schema["const"]]))
    if "$ref" in schema or schema["type"] == "object":
        return "keys, below"
    if schema["type"] == "boolean":
        return "`true`, `false`"
    if schema["type"] == "array":
        return "two integers" if "prefixItems" in schema else "a list of texts"
    bounds = [text.format(schema[key]) for key, text in _BOUNDS.items() if key in schema]
    word = {"integer": "integer", "number": "number", "string": "text"}[schema["type"]]
    return " ".join([word, ", ".join(bounds)]).strip()


def options_of(record: type[BaseModel], selection: Json | None = None) -> list[Option]:
    """The options of a record in the order of its fields, those of an optional record after it.

    Defaults that depend on what selects a format are those of `selection`.
    """
    schema = record.model_json_schema(schema_generator=Described)
    chosen = record.model_validate(selection).model_dump(mode="json") if selection else {}
    return list(_options(schema, schema.get("$defs", {}), chosen))


def _options(schema: Json, inner: Json, chosen: Json, prefix: str = "") -> Iterator[Option]:
    for name, field in schema["properties"].items():
        required = name in schema.get("required", ())
        default = "required" if required else _value(field.get("default", chosen.get(name)))
        yield Option(prefix + name, default, _allowed(field), field.get("description", ""))
        for one in field.get("anyOf", ()):
            if "$ref" in one:
                nested = inner[one["$ref"].rpartition("/")[2]]
                yield from _options(nested, inner, {}, f"{prefix}{name}.")


def _table(*lines: tuple[str, ...]) -> str:
    head, *rows = lines
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ("---",) * len(head), *rows))


def _section(record: type[BaseModel], but: Collection[str] = ()) -> str:
    head = ("key", "default", "allowed", "meaning")
    return _table(head, *(one.cells() for one in options_of(record) if one.name not in but))


def _formats(model: ModelKind = "decoder") -> str:
    """For each value of `format`, what there is of it and its options."""
    families: dict[object, list[type[Format]]] = {}
    for kind in all_formats(model):
        families.setdefault(kind.selector()["format"][0], []).append(kind)
    of = " of an encoder" if model == "encoder" else ""
    return "\n".join(
        f"### `format: {name}`{of}\n\n{_family(one)}" for name, one in families.items()
    )


def _family(kinds: list[type[Format]]) -> str:
    if len(kinds) == 1 and [*kinds[0].selector()] == ["format"]:
        return f"{_first_line(kinds[0])}.\n\n{_section(kinds[0], kinds[0].selector())}"
    choices, users = list[tuple[str, ...]](), dict[Option, dict[type[Format], list[Json]]]()
    for kind in kinds:
        keys = {key: values for key, values in kind.selector().items() if key != "format"}
        chosen = (f"{key}: {' or '.join(map(str, values))}" for key, values in keys.items())
        choices.append((f"`{', '.join(chosen)}`", _first_line(kind)))
        for selection in kind.selections():
            for option in options_of(kind, selection):
                if option.name not in selection:
                    users.setdefault(option, {}).setdefault(kind, []).append(selection)
    rows = [(*option.cells(), _users(of, len(kinds))) for option, of in users.items()]
    head = ("option", "default", "allowed", "meaning", "of")
    tables = [_table(("choice", "makes"), *choices), *([_table(head, *rows)] if rows else [])]
    return "\n".join(tables)


def _users(of: dict[type[Format], list[Json]], count: int) -> str:
    """Which of `count` formats have an option: by their methods, and bits where not for all."""
    names = [
        f"{chosen[0]['method']}"
        + f" {chosen[0].get('bits')} bits" * (chosen != kind.selections())
        + " auto" * (chosen[0].get("bits") == "auto")
        for kind, chosen in of.items()
    ]
    whole = len(of) == count and all(chosen == kind.selections() for kind, chosen in of.items())
    return "all" if whole else ", ".join(names)


def _first_line(kind: type[Format]) -> str:
    return (kind.__doc__ or "").strip().partition("\n")[0]


_FORMATS: dict[str, Callable[[], str]] = {
    "formats": _formats,
    "encoder_formats": partial(_formats, "encoder"),
}


def page_text() -> str:
    """docs/recipe.md with its tables as the records are now."""

    def renewed(block: re.Match[str]) -> str:
        name = block[2]
        table = _FORMATS[name]() if name in _FORMATS else _section(SECTIONS[name])
        return f"{block[1]}\n{table}\n{block[3]}"

    return _BLOCK.sub(renewed, PATH.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PATH.write_text(page_text(), encoding="utf-8")
