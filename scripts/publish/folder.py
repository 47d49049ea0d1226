"""A folder as a place: written beside it, checked, then renamed into its place."""

from dataclasses import dataclass
from pathlib import Path

from scripts.engine.build.commit import swap_at_once
from scripts.engine.store.files import exclusive, remove, sync
from scripts.engine.store.links import link_or_copy
from scripts.engine.store.manifest import sha256_of
from scripts.errors import MachineError, QuantmakeError
from scripts.publish.package import SUMS, Package, Piece, names_in


@dataclass(frozen=True)
class Folder:
    """A folder of this machine that holds one artefact with what goes along, and nothing else."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def missing(self, package: Package) -> tuple[Piece, ...] | None:
        """As `Place.missing`; every file is hashed. Raises QuantmakeError for a place that is taken
        by something else."""
        there = self._there()
        missing = tuple(one for one in package.files if not _holds(self.path / one.name, one))
        return missing if missing or there != {piece.name for piece in package.files} else None

    def send(self, package: Package) -> str:
        """As `Place.send`. What an interrupted one had copied is not copied again."""
        fresh = self.path.with_name(f".{self.path.name}.unfinished")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with exclusive(self.path):
                for piece in package.files:
                    _place(piece, fresh / piece.name)
                _remove_others(fresh, package)
                self._exchange(fresh)
        except OSError as error:
            raise MachineError(
                f"{self.path} can't be written ({error.strerror or error}); look at the disk and "
                "its permissions. What was copied is kept: the same command goes on."
            ) from None
        return str(self.path)

    def _exchange(self, fresh: Path) -> None:
        if not self.path.exists():
            fresh.rename(self.path)
        elif not swap_at_once(fresh, self.path):
            old = self.path.with_name(f".{self.path.name}.old")
            remove(old)
            self.path.rename(old)
            fresh.rename(self.path)
            remove(old)
        sync(self.path.parent)
        remove(fresh)

    def _there(self) -> set[str]:
        """The files in the folder; empty where there is none. Raises QuantmakeError where it is no
        folder of an earlier publication: nothing of somebody else's is replaced."""
        if not self.path.exists():
            return set()
        files = {path for path in self.path.rglob("*") if not path.is_dir()}
        names = {path.relative_to(self.path).as_posix() for path in files}
        sums = self.path / SUMS
        known = {SUMS, *names_in(sums.read_text())} if sums.is_file() else set()
        if not self.path.is_dir() or not names <= known:
            other = ", ".join(sorted(names - known)[:3]) or "a file"
            raise QuantmakeError(
                f"{self.path} holds what no publication put there ({other}); name a folder that is "
                "not there yet, or one that was published before"
            )
        return names


def _holds(path: Path, piece: Piece) -> bool:
    return path.is_file() and path.stat().st_size == piece.size and sha256_of(path) == piece.sha256


def _place(piece: Piece, path: Path) -> None:
    """Copy, unless it is there; what was copied is hashed."""
    if _holds(path, piece):
        return
    remove(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    link_or_copy(piece.path, path, hard_links=False)
    if not _holds(path, piece):
        raise QuantmakeError(f"{piece.path} was changed while it was copied; run doit, then again")
    sync(path)


def _remove_others(fresh: Path, package: Package) -> None:
    """What an interrupted publication of something else had left."""
    wanted = {fresh / piece.name for piece in package.files}
    for path in [one for one in fresh.rglob("*") if not one.is_dir()]:
        if path not in wanted:
            path.unlink()
    for folder in sorted((one for one in fresh.rglob("*") if one.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
