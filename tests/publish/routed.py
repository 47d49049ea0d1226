"""What the test servers share: every method of HTTP goes one way."""

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
