"""A small evaluator of Go's text/template: range, if, else if, else, end; fields, eq and not.

What it does not know raises ValueError, so a template that needs more fails its test. Rules:
https://pkg.go.dev/text/template: a field of nothing is empty, an empty text is false, and no white
space is trimmed, since no action here has a trim marker.
"""

import re
from collections.abc import Iterator
from typing import Any

_ACTION = re.compile(r"\{\{(?!-)(.*?)(?<!-)\}\}", re.DOTALL)
_TERM = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s"]+')


def execute(template: str, data: dict[str, Any]) -> str:
    """What Go writes."""
    if "{{-" in template or "-}}" in template:
        raise ValueError("trim markers are not known here")
    tokens = _ACTION.split(template)  # texts and actions in turn
    nodes, _, end = _block(tokens, 0)
    if end != "":
        raise ValueError(f"{end!r} closes nothing")
    return "".join(_write(nodes, data, data))


def ollama(template: str, messages: list[dict[str, str]]) -> str:
    """As Ollama does: system messages also as .System, messages of one role in a row as one."""
    system = "\n\n".join(one["content"] for one in messages if one["role"] == "system")
    collated: list[dict[str, str]] = []
    for one in messages:
        if collated and collated[-1]["Role"] == one["role"]:
            collated[-1]["Content"] += "\n\n" + one["content"]
        else:
            collated.append({"Role": one["role"], "Content": one["content"]})
    return execute(template, {"System": system, "Messages": collated})


def _block(tokens: list[str], place: int) -> tuple[list[Any], int, str]:
    """Nodes up to an action that ends them; where that stands, and what it says."""
    nodes: list[Any] = []
    while place < len(tokens):
        if place % 2 == 0:
            nodes.append(tokens[place])
            place += 1
            continue
        said = tokens[place].strip()
        if said == "end" or said.split()[0] == "else":
            return nodes, place, said
        if said.split()[0] in ("range", "if"):
            node, place = _branch(tokens, place, said)
            nodes.append(node)
        else:
            nodes.append(("write", said))
            place += 1
    return nodes, place, ""


def _branch(tokens: list[str], place: int, said: str) -> tuple[Any, int]:
    """A `range` or an `if` with all that belongs to it; the place after its end."""
    kind, _, condition = said.partition(" ")
    inner, place, end = _block(tokens, place + 1)
    otherwise: list[Any] = []
    if end.startswith("else if "):
        node, place = _branch(tokens, place, end.removeprefix("else "))
        return (kind, condition, inner, [node]), place
    if end == "else":
        otherwise, place, end = _block(tokens, place + 1)
    if end != "end":
        raise ValueError(f"{said!r} has no end")
    return (kind, condition, inner, otherwise), place + 1


def _write(nodes: list[Any], dot: Any, root: Any) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, str):
            yield node
        elif node[0] == "write":
            yield str(_value(node[1], dot, root))
        elif node[0] == "if":
            yield from _write(node[2] if _value(node[1], dot, root) else node[3], dot, root)
        else:
            for one in _value(node[1], dot, root):
                yield from _write(node[2], one, root)


def _value(said: str, dot: Any, root: Any) -> Any:
    first, *rest = _TERM.findall(said)
    arguments = [_value(one, dot, root) for one in rest]
    if first == "eq" and len(arguments) == 2:
        return arguments[0] == arguments[1]
    if first == "not" and len(arguments) == 1:
        return not arguments[0]
    if rest:
        raise ValueError(f"{said!r} is not known here")
    if first.startswith('"'):
        return first[1:-1]
    if match := re.fullmatch(r"(\$?)\.(\w+)", first):
        return (root if match[1] else dot).get(match[2], "")
    raise ValueError(f"{said!r} is not known here")
