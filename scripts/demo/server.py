"""A web server for this machine alone: a fixed list of files, read only."""

import errno
import re
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from scripts.backends.site import Part
from scripts.errors import MachineError

HOST = "127.0.0.1"
Files = Mapping[str, bytes | Part]
"""What is served, by the path of the address."""

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
}
_HEADERS = {
    # The first two let a page have memory that threads share, which WebAssembly needs.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'; style-src 'self'; "
    "script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # An artefact that is built anew has the same address.
    "Cache-Control": "no-cache",
}
_AT_ONCE = 1 << 20
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Server(ThreadingHTTPServer):
    """Serves `files` on the loopback address; port 0 takes a free one.

    Raises MachineError where the port is taken or not for this user.
    """

    daemon_threads = True

    def __init__(self, files: Files, port: int) -> None:
        self.files = files
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            taken = getattr(error, "errno", None) == errno.EADDRINUSE
            raise MachineError(
                f"port {port} of {HOST} can't be had ({'it is taken' if taken else error}); choose "
                "another with --port, or leave it out"
            ) from None

    @property
    def address(self) -> str:
        """Of the page."""
        return f"http://{HOST}:{self.server_port}/"

    def is_ours(self, host: str | None) -> bool:
        """Whether a request is for this server by its own name: another site's name may be made to
        lead here, and its page would read the answers."""
        return host in {f"{name}:{self.server_port}" for name in (HOST, "localhost")}


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "quantmake", ""

    def do_GET(self) -> None:
        """Answer with the file of exactly this path."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """The same without its bytes."""
        self._answer(with_body=False)

    def log_message(self, *_: object) -> None:
        """The terminal is for what the user has to know."""

    def _answer(self, *, with_body: bool) -> None:
        if not self.server.is_ours(self.headers.get("Host")):
            self._say(HTTPStatus.MISDIRECTED_REQUEST)
            return
        path = unquote(urlsplit(self.path).path)
        path = f"{path}index.html" if path.endswith("/") else path
        content = self.server.files.get(path)
        if content is None:
            self._say(HTTPStatus.NOT_FOUND)
            return
        size = len(content) if isinstance(content, bytes) else content.size
        wanted = _wanted(self.headers.get("Range"), size)
        if wanted is None:
            self._say(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, f"bytes */{size}")
            return
        start, end = wanted
        partial = "Range" in self.headers and (start, end) != (0, size)
        self.send_response(HTTPStatus.PARTIAL_CONTENT if partial else HTTPStatus.OK)
        kind = _TYPES.get(PurePosixPath(path).suffix, "application/octet-stream")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(end - start))
        self.send_header("Accept-Ranges", "bytes")
        if partial:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self._end_headers()
        if with_body:
            self._send(content, start, end)

    def _send(self, content: bytes | Part, start: int, end: int) -> None:
        try:
            if isinstance(content, bytes):
                self.wfile.write(content[start:end])
                return
            with content.path.open("rb") as file:
                file.seek(content.start + start)
                while start < end and (data := file.read(min(end - start, _AT_ONCE))):
                    self.wfile.write(data)
                    start += len(data)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the page was closed, or loaded anew

    def _say(self, status: HTTPStatus, content_range: str = "") -> None:
        """An answer without a file."""
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if content_range:
            self.send_header("Content-Range", content_range)
        self._end_headers()

    def _end_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()


def _wanted(header: str | None, size: int) -> tuple[int, int] | None:
    """From where to where a request asks for; all of it where it asks for several ranges or in
    another unit, None for what is not there."""
    found = _RANGE.fullmatch(header or "")
    if found is None or found[1] == found[2] == "":
        return 0, size
    if not found[1]:
        return max(0, size - int(found[2])), size
    start, end = int(found[1]), int(found[2] or size - 1) + 1
    return (start, min(end, size)) if start < min(end, size) else None
