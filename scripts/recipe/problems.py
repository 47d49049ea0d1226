"""A recipe's file: its data, the line of every key, and all that is wrong with it at once."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from scripts.errors import RecipeError

KeyPath = tuple[str | int, ...]
Problem = tuple[int, str, str]
"""One mistake: the line (from 1), the key (dotted) and what was found and is allowed."""

_ENDLESS = "it is nested without end, by an anchor (&) inside itself or by hundreds of brackets"
_LOOK_ALIKE = str.maketrans("ol", "01")


@dataclass
class Document:
    """The plain data of a YAML file, its name, the line of each key, and what is wrong with it."""

    data: Any
    name: str = ""
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: set[Problem] = field(default_factory=set)

    def report(self, path: KeyPath, text: str) -> None:
        """Note a mistake at the key `path`, or at the nearest key above it that the file has."""
        known = path
        while known and known not in self.lines:
            known = known[:-1]
        self.problems.add((self.lines.get(known, 1), ".".join(map(str, path)), text))


def read_yaml(path: Path) -> Document:
    """Read a YAML file; raises RecipeError where it is none."""
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        document = Document(yaml.safe_load(text), path.stem)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise refusal(path, {(line, "", f"this is not YAML: {error.problem}")}) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise refusal(path, {(1, "", f"this is not YAML: {error}")}) from None
    except RecursionError:
        raise refusal(path, {(1, "", _ENDLESS)}) from None
    try:
        if root is not None:
            _walk(root, (), document)
    except RecursionError:
        raise refusal(path, {(1, "", _ENDLESS)}) from None
    return document


def _walk(node: yaml.Node, path: KeyPath, document: Document) -> None:
    document.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*path, index), document)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            first = document.lines.get(here)
            document.lines[here] = key.start_mark.line + 1
            if first is not None:
                text = f"stands twice, here and in line {first}; keep one of the two"
                document.report(here, text)
            _walk(value, here, document)


def nearest(word: object, allowed: Iterable[object]) -> str:
    """`; did you mean 'x'?` where something allowed is spelt much like `word`, else nothing.

    Letters that look like digits count as those, so that q4_o is nearest to q4_0.
    """

    def shape(one: object) -> str:
        return str(one).lower().translate(_LOOK_ALIKE)

    words = {shape(one): str(one) for one in allowed}
    close = difflib.get_close_matches(shape(word), list(words), n=1, cutoff=0.6)
    return f"; did you mean {words[close[0]]!r}?" if close else ""


def listed(allowed: Iterable[object]) -> str:
    """`a, b, c`, each as it would be written in YAML."""
    return ", ".join(map(str, allowed))


def unknown(what: str, word: object, allowed: Iterable[object]) -> str:
    """`'x' is not a known …; did you mean 'y'? Allowed: …`."""
    known = list(allowed)
    return f"{word!r} is not a known {what}{nearest(word, known) or ';'} allowed: {listed(known)}"


def refusal(path: Path, problems: Iterable[Problem]) -> RecipeError:
    """The error with every problem of a file, in the order of the lines."""
    lines = [
        f"  line {line}{key and ', ' + key}: {text}" for line, key, text in sorted(set(problems))
    ]
    count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    return RecipeError("\n".join([f"{path} has {count}:", *lines]))
