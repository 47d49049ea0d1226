"""Where artefacts go: how a destination is spelt, and the place of each artefact in it."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from scripts.errors import RecipeError
from scripts.publish.package import Package, Piece
from scripts.sources.redact import redact

ARTIFACT = "{artifact}"
"""What stands for the artefact's name in a destination."""

SPELLINGS = "hf:ORG/NAME, hf:ORG/NAME@BRANCH, oci:REGISTRY/NAME[:TAG] or a folder such as ./NAME"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_HUB = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w.-]+(?:/[\w.-]+)*))?", re.ASCII)
_OCI = re.compile(
    r"((?:[a-z0-9-]+(?:\.[a-z0-9-]+)*|\[[0-9a-f:]+\])(?::\d+)?)/"
    r"([a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*)"
    r"(?::(\w[\w.-]{0,127}))?",
    re.ASCII,
)
_LONGEST_HUB_NAME = 96


class Place(Protocol):
    """Where one artefact goes; `str` says it as people write it."""

    def missing(self, package: Package) -> tuple[Piece, ...] | None:
        """The files whose bytes are not there yet; None where the place holds just this package
        and nothing is to be done. It changes nothing there."""

    def send(self, package: Package) -> str:
        """Make the place hold the package, in one step at the end; its address for people."""


def places(text: str, artifacts: Sequence[str], *, public: bool) -> dict[str, Place]:
    """The place of each artefact. Several of them get a repository each on the hub, a tag each in
    a registry, a folder each, unless `{artifact}` in `text` says where the name stands.

    Raises RecipeError for what is spelt wrongly or would put two artefacts in one place.
    """
    match = _SCHEME.fullmatch(text.strip())
    scheme, rest = (match[1].lower(), match[2]) if match else ("", text.strip())
    makers = {"hf": _hub, "oci": _registry, "": _folder}
    if scheme not in makers or not rest:
        raise _malformed(text, f"it has the unknown scheme {scheme!r}" if rest else "it is empty")
    if public and scheme != "hf":
        raise RecipeError(
            f"--public opens a repository of the hub; who may read {redact(text)!r} is said there"
        )
    several = len(artifacts) > 1 and ARTIFACT not in rest
    found = {name: makers[scheme](rest, name, several, public) for name in artifacts}
    by_place: dict[str, list[str]] = {}
    for name, place in found.items():
        by_place.setdefault(str(place), []).append(name)
    for where, names in by_place.items():
        if len(names) > 1:
            raise RecipeError(f"{' and '.join(names)} would both go to {where}; publish one by one")
    return found


def _hub(rest: str, artifact: str, several: bool, public: bool) -> Place:
    from scripts.publish.hub import HubRepository

    name = _slug(artifact)
    repository, _, branch = rest.partition("@")
    filled = rest.replace(ARTIFACT, name)
    if several:
        filled = f"{repository}-{name}" + (f"@{branch}" if branch else "")
    match = _HUB.fullmatch(filled)
    if match is None or filled.endswith("@"):
        raise _malformed(f"hf:{rest}", "a repository is ORG/NAME of letters, digits, '.', '_', '-'")
    if len(match[1]) > _LONGEST_HUB_NAME or re.search(r"--|\.\.|[.-](?:/|$)|/[.-]", match[1]):
        raise _malformed(
            f"hf:{filled}",
            f"the hub allows {_LONGEST_HUB_NAME} characters, no '--' or '..', and neither '-' nor "
            "'.' at an end",
        )
    return HubRepository(match[1], match[2] or "main", public)


def _registry(rest: str, artifact: str, several: bool, public: bool) -> Place:
    from scripts.publish.registry import RegistryTag

    name = _slug(artifact)
    match = _OCI.fullmatch(rest.replace(ARTIFACT, name))
    if match is None:
        raise _malformed(
            f"oci:{rest}", "a name is REGISTRY/NAME in lower case, a tag of letters, digits, '._-'"
        )
    if several and match[3]:
        raise _malformed(f"oci:{rest}", f"several artefacts need a tag each: :{ARTIFACT}")
    return RegistryTag(match[1], match[2], match[3] or name)


def _folder(rest: str, artifact: str, several: bool, public: bool) -> Place:
    from scripts.publish.folder import Folder

    path = Path(rest.replace(ARTIFACT, _slug(artifact))).expanduser()
    return Folder(path / _slug(artifact) if several else path)


def _slug(artifact: str) -> str:
    """The artefact's name as one part of a path."""
    return artifact.replace("/", "-")


def _malformed(text: str, problem: str) -> RecipeError:
    return RecipeError(f"--to {redact(text)!r}: {problem}; write {SPELLINGS}")
