"""YAML with the line of every key kept, and keys that occur twice reported."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from scripts.recipe.problems import Problem

KeyPath = tuple[str | int, ...]


@dataclass
class Document:
    """The plain data of a YAML file, the line of each key in it, and what is wrong already."""

    data: Any
    lines: dict[KeyPath, int]
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: KeyPath) -> int:
        """The line of the key at `path`, or of the nearest key above it that the file has."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_yaml(path: Path) -> Document:
    """Read a YAML file; what can't be parsed becomes a problem of the document."""
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        return Document(None, {}, [Problem(line, "", f"this is not YAML: {error.problem}")])
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return Document(None, {}, [Problem(1, "", f"this is not YAML: {error}")])
    document = Document(data, {})
    if root is not None:
        _walk(root, (), document)
    return document


def _walk(node: yaml.Node, path: KeyPath, document: Document) -> None:
    document.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*path, index), document)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        here = (*path, str(key.value))
        line = key.start_mark.line + 1
        if here in document.lines:
            first = document.lines[here]
            text = f"stands twice, here and in line {first}; keep one of the two"
            document.problems.append(Problem(line, ".".join(map(str, here)), text))
        document.lines[here] = line
        _walk(value, here, document)
