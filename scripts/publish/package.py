"""What goes: an artefact's files, and beside them what is said of it, all verified."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from scripts.engine.build.aside import aside_of
from scripts.engine.build.record import is_whole, read_record
from scripts.engine.build.status import Kind, Reason
from scripts.engine.graph.tasks import UpToDate
from scripts.engine.store.lock import text_of
from scripts.engine.store.manifest import COMPANIONS, companion, paths_in, read_manifest, sha256_of
from scripts.errors import QuantmakeError
from scripts.recipe.recipe import Recipe
from scripts.report.write_report import NAME as REPORT
from scripts.sources.schemes import scheme_of

CARD, BOM, STATEMENT = "README.md", "bom.cdx.json", "provenance.intoto.json"
SUMS = "SHA256SUMS"
_CHART = re.compile(r"\((charts/[^)\s]+)\)")
_BESIDE_THE_BUILD = {Kind.TOUCHED, Kind.INPUT_MISSING}
"""Reasons that leave open whether a target is what the lock says; hashing it decides."""


@dataclass(frozen=True)
class Piece:
    """One file that goes: its path where it arrives (POSIX), where its bytes lie, their number,
    their SHA-256 in hex."""

    name: str
    path: Path
    size: int
    sha256: str


@dataclass(frozen=True)
class Package:
    """An artefact by its path below the artefacts' folder, a line on what it is, and its files in
    order of their names; the last of all is the list of the others, for sha256sum -c."""

    artifact: str
    title: str
    files: tuple[Piece, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(piece.size for piece in self.files)


def verify(checker: UpToDate) -> None:
    """Raise QuantmakeError where an artefact is not built, stale, damaged, or not the lock's.

    One that was pulled counts as what the lock says, though nothing that it was made from is here.
    """
    target, lock = checker.action.target, checker.lock
    manifest, built = read_manifest(target), read_record(target)
    if manifest is None or built is None:
        if aside_of(target).exists():
            raise QuantmakeError(
                f"{target} broke its budget and was set aside in {aside_of(target)}: it may not be "
                "shipped. Raise its budget in the recipe or take another artefact."
            )
        raise QuantmakeError(f"{target} is not built yet; run `doit {target}` first")
    reasons = [one for one in checker.reasons() if one.kind not in _BESIDE_THE_BUILD]
    if lock is not None and not lock.matches(target, built.key, manifest):
        reasons.append(Reason(Kind.LOCK, f"{lock.path} does not say what {target} is"))
    if reasons:
        said = "; ".join(dict.fromkeys(str(reason) for reason in reasons))
        raise QuantmakeError(f"{target} is stale ({said}); run `doit` and publish then")
    if not is_whole(target):
        raise QuantmakeError(
            f"{target} is damaged: its files are not what its manifest says. `doit verify --deep` "
            f"names them, `doit {target}` builds it again."
        )


def pack(recipe: Recipe, name: str, checker: UpToDate, scratch: Path) -> Package:
    """What goes for a verified artefact; files that are made for it are written into `scratch`.

    Raises QuantmakeError where the card or the report is missing or of another build.
    """
    target = checker.action.target
    manifest = read_manifest(target)
    assert manifest is not None, target
    paths = paths_in(target, manifest)
    own = [Piece(one.path, paths[one.path], one.size, one.sha256) for one in manifest.files]
    # A file that is an artefact arrives under its last name, whatever folder it was built in.
    pieces = own if manifest.kind == "folder" else [_renamed(own[0], target.name)]
    beside = {
        **_companions(target),
        **_report(recipe),
        **_recipe(recipe, checker, scratch),
    }
    if both := sorted({piece.name for piece in pieces} & {*beside, SUMS}):
        raise QuantmakeError(
            f"{target} has files of its own with the names of what goes with it: {', '.join(both)}"
        )
    pieces += [_piece(place, path) for place, path in beside.items()]
    pieces.sort(key=lambda piece: piece.name)
    sums = scratch / SUMS
    sums.write_text("".join(f"{piece.sha256}  {piece.name}\n" for piece in pieces))
    label = recipe.artifacts[name].label()
    return Package(name, f"{recipe.title}, {label}", (*pieces, _piece(SUMS, sums)))


def names_in(sums: str) -> set[str]:
    """The names in a list that an earlier publication wrote."""
    return {line.partition("  ")[2] for line in sums.splitlines() if "  " in line}


def _renamed(piece: Piece, name: str) -> Piece:
    return Piece(name, piece.path, piece.size, piece.sha256)


def _piece(name: str, path: Path) -> Piece:
    return Piece(name, path, path.stat().st_size, sha256_of(path))


def _companions(target: Path) -> dict[str, Path]:
    """The pages about a target and its signatures, by their plain names."""
    found = {name: companion(target, name) for name in sorted(COMPANIONS)}
    there = {name: path for name, path in found.items() if path.is_file()}
    built = read_record(target)
    key = built.key if built else ""
    if {CARD, BOM, STATEMENT} - set(there) or _key_of(there[STATEMENT]) != key:
        raise QuantmakeError(
            f"{target} has no model card, or one of an earlier build; run `doit` (it measures the "
            "artefact and writes the card, the bill of materials and the provenance)"
        )
    return there


def _key_of(statement: Path) -> str:
    """The action key that a statement of provenance speaks of; empty where it is none."""
    try:
        said = json.loads(statement.read_text(encoding="utf-8"))
        return str(said["predicate"]["runDetails"]["metadata"]["invocationId"])
    except (ValueError, KeyError, TypeError):
        return ""


def _report(recipe: Recipe) -> dict[str, Path]:
    """The report as Markdown, and the charts that it shows."""
    report = recipe.report_folder / REPORT
    if not report.is_file():
        raise QuantmakeError(f"there is no {report}; run `doit` to write it")
    charts = sorted(set(_CHART.findall(report.read_text(encoding="utf-8"))))
    missing = [chart for chart in charts if not (recipe.report_folder / chart).is_file()]
    if missing:
        raise QuantmakeError(f"{report} shows {', '.join(missing)}, which is not there; run `doit`")
    return {REPORT: report, **{chart: recipe.report_folder / chart for chart in charts}}


def _recipe(recipe: Recipe, checker: UpToDate, scratch: Path) -> dict[str, Path]:
    """The artefact's entry of the lock, as a lock; the recipe, where it names no folder of here."""
    target = checker.action.target
    entry = checker.lock.entry(target) if checker.lock else None
    if entry is None:
        raise QuantmakeError(f"{recipe.lock} does not name {target}; run `doit`")
    excerpt = scratch / recipe.lock.name
    excerpt.write_text(text_of({target.as_posix(): entry}), encoding="utf-8")
    files = {recipe.lock.as_posix(): excerpt}
    sources = [fetch.source for fetch in recipe.header.sources().values()]
    if not any(scheme_of(source) in ("path", "file") for source in sources):
        files[recipe.path.as_posix()] = recipe.path
    return files
