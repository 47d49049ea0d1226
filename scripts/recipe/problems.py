"""What is wrong with a recipe, as sentences with file, line and key; all of it at once."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scripts.errors import RecipeError


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake: the line (from 1), the key (dotted) and what was found and is allowed."""

    line: int
    key: str
    text: str


_LOOK_ALIKE = str.maketrans("ol", "01")


def _shape(word: object) -> str:
    return str(word).lower().translate(_LOOK_ALIKE)


def nearest(found: object, allowed: Iterable[object]) -> str:
    """`; did you mean 'x'?` where something allowed is spelt much like `found`, else nothing.

    Letters that look like digits count as those, so that q4_o is nearest to q4_0.
    """
    words = {_shape(word): str(word) for word in allowed}
    close = difflib.get_close_matches(_shape(found), list(words), n=1, cutoff=0.6)
    return f"; did you mean {words[close[0]]!r}?" if close else ""


def listed(allowed: Iterable[object]) -> str:
    """`a, b, c`, each as it would be written in YAML."""
    return ", ".join(str(word) for word in allowed)


def unknown(what: str, found: object, allowed: Iterable[object]) -> str:
    """`'x' is not a known …; did you mean 'y'? Allowed: …`."""
    known = list(allowed)
    near = nearest(found, known)
    return f"{found!r} is not a known {what}{near or ';'} allowed: {listed(known)}"


def refuse(path: Path, problems: Iterable[Problem]) -> None:
    """Raise RecipeError with every problem, in the order of the lines, where there is one."""
    found = sorted(set(problems))
    if not found:
        return
    count = "1 mistake" if len(found) == 1 else f"{len(found)} mistakes"
    lines = [
        f"  line {problem.line}{', ' + problem.key if problem.key else ''}: {problem.text}"
        for problem in found
    ]
    raise RecipeError("\n".join([f"{path} has {count}:", *lines]))
