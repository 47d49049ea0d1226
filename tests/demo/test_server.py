"""The server: these files, read only, for this machine alone."""

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.backends.site import Part
from scripts.demo.server import HOST, Server
from scripts.errors import MachineError


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Serves a page, a module, and the middle of a file."""
    (tmp_path / "data").write_bytes(bytes(range(100)))
    (tmp_path / "secret").write_text("not served")
    files = {
        "/index.html": b"<!DOCTYPE html>",
        "/run.mjs": b"1",
        "/run.wasm": b"\0asm",
        "/artefact/data": Part(tmp_path / "data", 10, 50),
    }
    with Server(files, 0) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask(
    server: Server, path: str, method: str = "GET", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    """One request, its path as it is."""
    connection = http.client.HTTPConnection(HOST, server.server_port, timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def test_threads_may_share_memory_and_types_are_right(server: Server) -> None:
    answer, body = ask(server, "/?device=wasm")
    assert (answer.status, body) == (200, b"<!DOCTYPE html>")
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert ask(server, "/run.mjs")[0].headers["Content-Type"].startswith("text/javascript")
    assert ask(server, "/run.wasm")[0].headers["Content-Type"] == "application/wasm"


@pytest.mark.parametrize(
    ("header", "status", "first", "size"),
    [
        ("", 200, 10, 50),
        ("bytes=0-0", 206, 10, 1),
        ("bytes=20-29", 206, 30, 10),
        ("bytes=45-", 206, 55, 5),
        ("bytes=-5", 206, 55, 5),
        ("bytes=40-900", 206, 50, 10),
        ("bytes=0-1,4-5", 200, 10, 50),
        ("lines=1-2", 200, 10, 50),
    ],
)
def test_ranges(server: Server, header: str, status: int, first: int, size: int) -> None:
    answer, body = ask(server, "/artefact/data", **({"Range": header} if header else {}))
    assert (answer.status, body) == (status, bytes(range(first, first + size)))
    if status == 206:
        end = first - 10 + size - 1
        assert answer.headers["Content-Range"] == f"bytes {first - 10}-{end}/50"


def test_a_range_beyond_the_end_is_refused(server: Server) -> None:
    answer, body = ask(server, "/artefact/data", Range="bytes=50-")
    assert (answer.status, body, answer.headers["Content-Range"]) == (416, b"", "bytes */50")


def test_head_has_no_body(server: Server) -> None:
    answer, body = ask(server, "/artefact/data", "HEAD")
    assert (answer.status, answer.headers["Content-Length"], body) == (200, "50", b"")


@pytest.mark.parametrize(
    "path",
    ["/secret", "/artefact/../secret", "/artefact/%2e%2e/secret", "//etc/passwd", "/artefact/"],
)
def test_nothing_else_is_there(server: Server, path: str) -> None:
    assert ask(server, path)[0].status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_sent(server: Server, method: str) -> None:
    assert ask(server, "/index.html", method)[0].status == 501


def test_another_sites_name_for_this_machine_gets_nothing(server: Server) -> None:
    answer, body = ask(server, "/", Host=f"example.org:{server.server_port}")
    assert (answer.status, body) == (421, b"")
    assert ask(server, "/", Host=f"localhost:{server.server_port}")[0].status == 200


def test_it_listens_on_the_loopback_address_alone(server: Server) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"


def test_a_taken_port_is_told(server: Server) -> None:
    with pytest.raises(MachineError) as caught:
        Server({}, server.server_port)
    assert str(caught.value) == (
        f"port {server.server_port} of 127.0.0.1 can't be had (it is taken); choose another with "
        "--port, or leave it out"
    )
