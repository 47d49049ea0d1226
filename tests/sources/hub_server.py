"""Enough of the Hugging Face hub's HTTP interface for its client: model info and files."""

import hashlib
import json
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "org/toy"


@dataclass
class Hub:
    """The files of one repository, and what was asked for. `token` makes it private."""

    files: dict[str, bytes]
    token: str | None = None
    gated: bool = False
    asked: list[str] = field(default_factory=list)
    tampered: dict[str, bytes] = field(default_factory=dict)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """A handler class for http.server that serves this repository."""
        return type("Handler", (_Handler,), {"hub": self})

    def listing(self) -> bytes:
        """The answer of /api/models/ORG/NAME/revision/…?blobs=true."""
        siblings = [
            {"rfilename": name, "size": len(data), "blobId": blob_id(data), **_lfs(name, data)}
            for name, data in self.files.items()
        ]
        return json.dumps({"id": REPOSITORY, "sha": COMMIT, "siblings": siblings}).encode()


def blob_id(data: bytes) -> str:
    """git's name of a blob."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _is_lfs(name: str) -> bool:
    return name.endswith((".safetensors", ".gguf"))


def _lfs(name: str, data: bytes) -> dict[str, object]:
    if not _is_lfs(name):
        return {}
    digest = hashlib.sha256(data).hexdigest()
    return {"lfs": {"sha256": digest, "size": len(data), "pointerSize": 130}}


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        self.hub.asked.append(f"{self.command} {self.path}")
        path = self.path.partition("?")[0]
        given = self.headers.get("Authorization", "")
        if self.hub.gated:
            self._send(403, b"{}", {"X-Error-Code": "GatedRepo"}, with_body)
        elif self.hub.token and given != f"Bearer {self.hub.token}":
            self._send(401, b"{}", {"X-Error-Code": "RepoNotFound"}, with_body)
        elif path in (
            f"/api/models/{REPOSITORY}/revision/{COMMIT}",
            f"/api/models/{REPOSITORY}/revision/main",
        ):
            self._send(200, self.hub.listing(), {}, with_body)
        elif path.startswith(f"/api/models/{REPOSITORY}/revision/"):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"}, with_body)
        elif path.startswith(f"/{REPOSITORY}/resolve/{COMMIT}/"):
            self._send_file(path.split(f"{COMMIT}/")[1], with_body)
        else:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, with_body)

    def _send_file(self, name: str, with_body: bool) -> None:
        data = self.hub.tampered.get(name, self.hub.files[name])
        etag = hashlib.sha256(data).hexdigest() if _is_lfs(name) else blob_id(data)
        self._send(200, data, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}, with_body)

    def _send(self, status: int, body: bytes, headers: dict[str, str], with_body: bool) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
