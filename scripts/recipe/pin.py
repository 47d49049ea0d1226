"""`doit pin`: fetch what a recipe does not pin yet, and write the digests into it."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from scripts.engine.store.files import write_atomically
from scripts.errors import RecipeError
from scripts.recipe.artifacts import report_invalid
from scripts.recipe.load import FOLDER, is_unpinned
from scripts.recipe.model import Header
from scripts.recipe.problems import KeyPath, listed, nearest, read_yaml, refusal
from scripts.recipe.terminal import TerminalCommand
from scripts.sources.fetch import Fetch

_SCRATCH = Path("cache")
_SAID = re.compile(r"^  (sha256: [0-9a-f]{64})$", re.MULTILINE)


class PinCommand(TerminalCommand):
    """Write the digests of sources into recipes."""

    name = "pin"
    doc_purpose = "fetch the sources that a recipe does not pin yet, and write their digests"
    doc_usage = "[RECIPE …]"
    cmd_options = ()

    def work(self, options: Any, given: list[str]) -> int:
        """Of the recipes that are named, or of all."""
        known = {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}
        wanted = [Path(name).stem for name in given] or list(known)
        for name in wanted:
            if name not in known:
                near = nearest(name, known)
                raise RecipeError(f"there is no recipe {name!r}{near}; there are {listed(known)}")
        by_hand = [text for name in wanted for text in pin(known[name])]
        if by_hand:
            raise RecipeError("\n".join(by_hand))
        return 0


def pin(recipe: Path) -> list[str]:
    """Write what is missing below each source; returns for people what could not be written.

    Raises RecipeError where the recipe is broken elsewhere in what names sources, and
    QuantmakeError where a source can't be fetched.
    """
    unpinned = dict(_unpinned(recipe))
    if not unpinned:
        print(f"{recipe}: every source is pinned.")
    by_hand = []
    for where, fetch in unpinned.items():
        line = digest_line(fetch)
        if _write(recipe, where, line):
            print(f"{recipe}: {'.'.join(map(str, where))} ({fetch.source}) has {line}", flush=True)
        else:
            name = ".".join(map(str, where[:-1]))
            by_hand.append(f"{recipe}: add this to {name} by hand, which is on one line:\n  {line}")
    return by_hand


def digest_line(fetch: Fetch) -> str:
    """The line that a source lacks, as the stage says it; fetched into a folder of its own."""
    _SCRATCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_SCRATCH, prefix=".pin-") as out:
        try:
            fetch.run({}, Path(out))
        except RecipeError as error:
            if found := _SAID.search(str(error)):
                return found[1]
            raise
    raise RecipeError(f"{fetch.source} needs no digest")


def _unpinned(recipe: Path) -> Iterator[tuple[KeyPath, Fetch]]:
    document = read_yaml(recipe)
    data = document.data if isinstance(document.data, dict) else {}
    sections = {key: value for key, value in data.items() if key in Header.model_fields}
    try:
        header = Header.model_validate(sections)
    except ValidationError as error:
        report_invalid(error, Header, (), document)
        raise refusal(recipe, document.problems) from None
    return ((where, fetch) for where, fetch in header.sources().items() if is_unpinned(fetch))


def _write(recipe: Path, where: KeyPath, line: str) -> bool:
    """Put a line below the key of a source; whether the recipe then says it there."""
    text = recipe.read_text("utf-8")
    lines = text.splitlines(keepends=True)
    at = read_yaml(recipe).lines[where]
    key = re.match(rf"( *){where[-1]}:", lines[at - 1])
    if key is None:
        return False
    lines.insert(at, f"{key[1]}{line}\n")
    write_atomically(recipe, "".join(lines))
    try:
        found = read_yaml(recipe).data
        for one in where[:-1]:
            found = found[one]
        is_there = f"sha256: {found.get('sha256')}" == line
    except (RecipeError, KeyError, TypeError, AttributeError):
        is_there = False
    if not is_there:
        write_atomically(recipe, text)
    return is_there
