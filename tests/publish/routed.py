"""What the test servers share: every method of HTTP goes one way, and every answer."""

from http.server import BaseHTTPRequestHandler


class Routed(BaseHTTPRequestHandler):
    """`route` answers requests of all methods."""

    protocol_version = "HTTP/1.1"

    def route(self) -> None:
        """Answer one request."""
        raise NotImplementedError

    def do_HEAD(self) -> None:
        self.route()

    def do_GET(self) -> None:
        self.route()

    def do_POST(self) -> None:
        self.route()

    def do_PUT(self) -> None:
        self.route()

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        """Answer with `body`, or to HEAD with its length."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
