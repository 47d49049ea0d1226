"""What differs between two builds of a target: the parts of their keys, and their files."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scripts.engine.store.manifest import Entry

_KINDS = {
    "stage": "the stage",
    "options": "option",
    "inputs": "input",
    "sources": "source text of",
    "packages": "version of package",
    "python": "the version of Python",
    "arithmetic": "how floats are computed:",
}
_SHOWN = 12
_MOST = 4  # values within one option that are shown


@dataclass(frozen=True)
class Change:
    """One thing that differs, with its old and its new value; None where there was none."""

    what: str
    old: object
    new: object

    def __str__(self) -> str:
        return f"{self.what}: {_short(self.old)} → {_short(self.new)}"


def _short(value: object) -> str:
    if value is None:
        return "(none)"
    text = str(value)
    is_digest = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return text[:_SHOWN] + "…" if is_digest else text


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    """What differs between the parts of two action keys, one change for each entry."""
    for kind, after in new.items():
        before = old.get(kind)
        if before == after:
            continue
        label = _KINDS.get(kind, kind)
        if isinstance(after, dict) and isinstance(before, dict):
            for name in sorted({*before, *after}):
                if before.get(name) != after.get(name):
                    yield from _within(f"{label} {name}", before.get(name), after.get(name))
        else:
            yield Change(label, before, after)


def _within(what: str, old: object, new: object) -> Iterator[Change]:
    """Of values that are mappings themselves, what differs in them; a count where that is much."""
    leaves = list(_leaves(what, old, new))
    if len(leaves) <= _MOST:
        yield from leaves
    else:
        yield Change(what, f"{len(leaves)} values", "others")


def _leaves(what: str, old: object, new: object) -> Iterator[Change]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                yield from _leaves(f"{what}.{name}", old.get(name), new.get(name))
    else:
        yield Change(what, old, new)


def other_files(old: Iterable[Entry], new: Iterable[Entry]) -> list[str]:
    """The files that differ, each with both of its SHA-256."""
    before = {file.path: file.sha256 for file in old}
    after = {file.path: file.sha256 for file in new}
    return [
        f"{name}: {before.get(name, '(none)')} → {after.get(name, '(none)')}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
