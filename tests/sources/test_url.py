"""URL sources: http from loopback, other schemes through fsspec."""

import functools
import io
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from scripts.errors import MachineError, QuantmakeError
from scripts.sources.url import fetch
from tests.sources.loopback import serve


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path not in ("/a.txt", "/short.txt"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", "5" if path == "/a.txt" else "50")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    with serve(_Handler) as address:
        yield address


def test_a_file_is_fetched_over_http(address: str, tmp_path: Path) -> None:
    fetch(f"{address}/a.txt?sig=secret", tmp_path, False)
    assert (tmp_path / "a.txt").read_text() == "hello"


def test_an_error_of_the_server_tells_its_status_and_no_secret(
    address: str, tmp_path: Path
) -> None:
    with_user = address.replace("http://", "http://bob:pa55word@")
    with pytest.raises(QuantmakeError) as error:
        fetch(f"{with_user}/none.txt?sig=s1gnature", tmp_path, False)
    assert str(error.value) == (
        f"{address}/none.txt: the server answered 404 Not Found; look at the address, and at "
        "whether it asks for credentials"
    )


def test_a_download_that_breaks_off_is_told(address: str, tmp_path: Path) -> None:
    with pytest.raises(MachineError) as error:
        fetch(f"{address}/short.txt", tmp_path, False)
    assert "IncompleteRead(5 bytes read, 45 more expected)" in str(error.value)


class _ShortFiles:
    """A file system whose files end before their size."""

    def size(self, _path: str) -> int:
        return 50

    def open(self, _path: str, _mode: str) -> io.BytesIO:
        return io.BytesIO(b"hello")


def test_a_file_that_ends_early_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    monkeypatch.setattr(fsspec, "url_to_fs", lambda url: (_ShortFiles(), url))
    with pytest.raises(QuantmakeError) as error:
        fetch("s3://bucket/a.txt", tmp_path, False)
    assert str(error.value) == ("s3://bucket/a.txt broke off after 5 of 50 bytes; run doit again")


def test_a_host_out_of_reach_is_the_machines_fault_and_keeps_secrets(tmp_path: Path) -> None:
    with pytest.raises(MachineError) as error:
        fetch("http://bob:pa55word@127.0.0.1:1/a.txt?sig=s1gnature", tmp_path, False)
    said = str(error.value)
    assert said.startswith("http://127.0.0.1:1/a.txt can't be read (ConnectionError: ")
    assert "pa55word" not in said
    assert "s1gnature" not in said


def test_a_file_is_fetched_through_fsspec(tmp_path: Path) -> None:
    import fsspec

    with fsspec.open("memory://sources/b.txt", "wb") as file:
        file.write(b"from memory")
    fetch("memory://sources/b.txt", tmp_path, False)
    assert (tmp_path / "b.txt").read_bytes() == b"from memory"


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(QuantmakeError) as error:
        fetch("memory://sources/none.txt", tmp_path, False)
    assert str(error.value) == "memory://sources/none.txt: there is no such file"


def test_a_url_without_a_file_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(QuantmakeError) as error:
        fetch("https://user:pw@host/", tmp_path, False)
    assert str(error.value) == "https://host/ names no file: its path has no last part"


def test_a_scheme_without_its_package_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    monkeypatch.setattr(fsspec, "url_to_fs", functools.partial(_needs, "Install toyfs to access"))
    with pytest.raises(MachineError) as error:
        fetch("s3://bucket/a.gguf", tmp_path, False)
    assert str(error.value) == (
        "s3://bucket/a.gguf: the scheme 's3' needs a package that is not installed: "
        "Install toyfs to access"
    )


def _needs(text: str, _url: str) -> None:
    raise ImportError(text)
