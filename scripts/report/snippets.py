"""How to load each artefact: code that a test takes out of the report and runs."""

import json
import re
from collections.abc import Sequence

import yaml

from scripts.backends.face import Face

_PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)


def snippet(face: Face, paths: Sequence[str]) -> str:
    """Python that loads the first of `paths` and completes a sentence; the others are named."""
    first, *others = (json.dumps(path) for path in paths)
    lines = [f"path = {first}", *(f"# path = {other}" for other in others)]
    imports, _, rest = face.code.partition("\n\n")
    return "\n".join([imports, "", *lines, "", rest])


def recipe_line(line: object) -> str:
    """A line of the recipe as it may stand there."""
    text: str = yaml.safe_dump(line, default_flow_style=True, sort_keys=False, width=10**6)
    return text.strip()


def extract_snippets(markdown: str) -> list[str]:
    """The Python code blocks of a text."""
    return _PYTHON.findall(markdown)
