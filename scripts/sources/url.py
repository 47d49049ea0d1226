"""URLs: https through requests, every other scheme through fsspec."""

import contextlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from scripts.errors import MachineError, QuantmakeError
from scripts.progress import BYTES, Progress
from scripts.sources.redact import redact
from scripts.sources.schemes import scheme_of

_CHUNK = 1 << 20
_TIMEOUT_S = 30


def fetch(source: str, out: Path, code: bool) -> None:
    """Write the one file that the URL names into `out`; `code` changes nothing here."""
    name = PurePosixPath(unquote(urlsplit(source).path)).name
    if not name or name == "..":
        raise QuantmakeError(f"{redact(source)} names no file: its path has no last part")
    opened = _open_http if scheme_of(source) in ("http", "https") else _open_fsspec
    with opened(source) as (stream, size), (out / name).open("xb") as file:
        bar = Progress("downloading", size or 0, BYTES)
        while chunk := _read(stream, source):
            file.write(chunk)
            bar.advance(len(chunk))
    if size is not None and bar.done != size:
        raise QuantmakeError(
            f"{redact(source)} broke off after {bar.done:,.0f} of {size:,} bytes; run doit again"
        )


def _read(stream: Any, source: str) -> bytes:
    try:
        return bytes(stream.read(_CHUNK))
    except Exception as error:  # every file system has exceptions of its own
        raise _unreachable(source, error) from None


@contextlib.contextmanager
def _open_http(source: str) -> Iterator[tuple[Any, int | None]]:
    import requests

    try:
        response = requests.get(
            source, stream=True, timeout=_TIMEOUT_S, headers={"Accept-Encoding": "identity"}
        )
    except requests.RequestException as error:
        raise _unreachable(source, error) from None
    with response:
        if response.status_code != 200:
            raise QuantmakeError(
                f"{redact(source)}: the server answered {response.status_code} {response.reason}; "
                "look at the address, and at whether it asks for credentials"
            )
        length = response.headers.get("Content-Length")
        yield response.raw, int(length) if length else None


@contextlib.contextmanager
def _open_fsspec(source: str) -> Iterator[tuple[Any, int | None]]:
    import fsspec

    try:
        system, path = fsspec.url_to_fs(source)
        size = system.size(path)
        stream = system.open(path, "rb")
    except ImportError as error:
        raise MachineError(
            f"{redact(source)}: the scheme {scheme_of(source)!r} needs a package that is not "
            f"installed: {redact(str(error), source)}"
        ) from None
    except FileNotFoundError:
        raise QuantmakeError(f"{redact(source)}: there is no such file") from None
    except IsADirectoryError:
        raise QuantmakeError(f"{redact(source)} is a folder; name one file of it") from None
    except Exception as error:  # every file system has exceptions of its own
        raise _unreachable(source, error) from None
    with stream:
        yield stream, size


def _unreachable(source: str, error: Exception) -> MachineError:
    return MachineError(
        f"{redact(source)} can't be read ({type(error).__name__}: {redact(str(error), source)}); "
        "look at the network, the proxy and the credentials, and run doit again"
    )
