"""The doit command `publish`."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from doit.exceptions import InvalidCommand

from scripts.engine.commands.graph_command import GraphCommand, option
from scripts.engine.graph.tasks import UpToDate
from scripts.errors import RecipeError
from scripts.publish.package import Package, pack, verify
from scripts.publish.places import SPELLINGS, Place, places
from scripts.recipe.load import load_all
from scripts.recipe.problems import listed, nearest
from scripts.recipe.recipe import Recipe

_MB = 1e6


class PublishCommand(GraphCommand):
    """Verify artefacts, then send them with all that is said of them."""

    name = "publish"
    doc_purpose = "send artefacts with card, report, provenance and lock to a hub or a registry"
    doc_usage = "TARGET … --to PLACE"
    cmd_options = (
        option("to", "", f"{SPELLINGS}; {{artifact}} in it stands for the artefact's name"),
        option("public", False, "open the repository of the hub; a new one is private without it"),
        option("dry_run", False, "print what would go: files, bytes, where; send nothing"),
    )

    def parse_execute(self, in_args: list[str]) -> int:
        """As every command; Ctrl-C stops it with one line."""
        try:
            return super().parse_execute(in_args)
        except KeyboardInterrupt:
            sys.stderr.write("\nstopped: what was sent is kept, and the same command goes on\n")
            return 130

    def _execute(self, to: str, public: bool, dry_run: bool, pos_args: list[str]) -> int:
        self.dep_manager.close()
        if not to or not pos_args:
            raise InvalidCommand(
                "doit publish takes artefacts and a place: doit publish quantized/model-int8 --to "
                f"PLACE, where PLACE is {SPELLINGS}"
            )
        chosen = self._chosen(pos_args)
        targets = places(to, [name for _, name, _ in chosen], public=public)
        with tempfile.TemporaryDirectory(prefix="quantmake-") as folder:
            # All are verified before the first byte of any goes.
            for _, _, checker in chosen:
                verify(checker)
            for number, (recipe, name, checker) in enumerate(chosen):
                scratch = Path(folder) / str(number)
                scratch.mkdir()
                package = pack(recipe, name, checker, scratch)
                _publish(package, targets[name], self.outstream, dry_run=dry_run)
        return 0

    def _chosen(self, given: list[str]) -> list[tuple[Recipe, str, UpToDate]]:
        """What the arguments name: artefacts by their paths, or `artifact@NAME` for a recipe's."""
        known = {str(one.action.target): one for _, one in self.checkers([]) if one.lock}
        artefacts = {
            str(recipe.out / name): (recipe, name, known[str(recipe.out / name)])
            for recipe in load_all()
            for name in recipe.artifacts
        }
        chosen: dict[str, tuple[Recipe, str, UpToDate]] = {}
        for one in given:
            wanted = one.removeprefix("./").rstrip("/")
            if wanted not in artefacts:
                raise RecipeError(
                    f"{one!r} is no artefact of a recipe{nearest(wanted, artefacts)}; there are "
                    f"{listed(artefacts)}"
                )
            chosen[wanted] = artefacts[wanted]
        return list(chosen.values())


def _publish(package: Package, place: Place, out: TextIO, *, dry_run: bool) -> None:
    missing = place.missing(package)
    if missing is None:
        out.write(f"  ✓ {package.artifact}: {place} has it already; nothing to send\n")
        return
    for line in _listing(package, {piece.name for piece in missing}, place):
        out.write(f"{line}\n")
    out.flush()
    if not dry_run:
        address = place.send(package)
        out.write(f"  ✓ {package.artifact} → {address}\n")


def _listing(package: Package, new: set[str], place: Place) -> Iterator[str]:
    """What goes, in lines for people."""
    size = sum(piece.size for piece in package.files if piece.name in new)
    yield (
        f"{package.artifact} → {place}: {len(package.files)} files, {package.size / _MB:,.1f} MB; "
        f"{len(new)} of them to send, {size / _MB:,.1f} MB"
    )
    width = max(len(piece.name) for piece in package.files)
    for piece in package.files:
        mark = "" if piece.name in new else "  (there)"
        yield f"    {piece.name:{width}} {piece.size:>15,}{mark}"
