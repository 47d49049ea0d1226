"""A small OCI registry: blobs, manifests by tag, a login by token or by password."""

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.publish.routed import Routed

USER, PASSWORD = "anna", "open" + "sesame"
DROPPED = 0
"""In `faults`: read half of what is sent, then close the connection."""
SOUND = -1
"""In `faults`: nothing is wrong with this one."""


@dataclass
class OciRegistry:
    """Blobs and manifests of all names. `login` is "", "basic" or "token"; a token of the latter is
    for one scope. `faults` has statuses that requests get whose line holds the key."""

    host: str = ""
    login: str = ""
    forbids: bool = False
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    faults: dict[str, list[int]] = field(default_factory=dict)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """A handler class for http.server."""
        return type("Handler", (_Handler,), {"registry": self})

    def pulled(self, name: str) -> dict[str, bytes]:
        """The files of `NAME:TAG`, as any client writes them."""
        manifest = json.loads(self.manifests[name])
        title = "org.opencontainers.image.title"
        return {one["annotations"][title]: self.blobs[one["digest"]] for one in manifest["layers"]}

    def wrote(self) -> list[str]:
        """The requests that change something."""
        return [line for line in self.asked if line.startswith(("PUT", "POST", "PATCH"))]


def basic() -> str:
    """What Authorization has after a login."""
    return base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


class _Handler(Routed):
    registry: OciRegistry

    def route(self) -> None:
        url = urlsplit(self.path)
        line, size = f"{self.command} {url.path}", int(self.headers.get("Content-Length") or 0)
        self.registry.asked.append(line)
        codes = [found for key, found in self.registry.faults.items() if key in line and found]
        fault = codes[0].pop(0) if codes else None
        if fault == DROPPED:
            self.rfile.read(size // 2)
            self.close_connection = True
            return
        body = self.rfile.read(size)
        if fault is not None and fault != SOUND:
            self.send(fault, _errors("UNKNOWN", "out of order"))
        elif url.path == "/token":
            self._give_token(parse_qs(url.query))
        elif self._may(line):
            self.send(*self._answer(line, parse_qs(url.query), body))

    def _may(self, line: str) -> bool:
        writes = not line.startswith(("GET", "HEAD"))
        given, scope = self.headers.get("Authorization", ""), "pull,push" if writes else "pull"
        login = self.registry.login
        realm = f'Bearer realm="http://{self.headers["Host"]}/token",service="here",scope="{scope}"'
        accepted = {"basic": [f"Basic {basic()}"], "token": [f"Bearer {scope}", "Bearer pull,push"]}
        if login and given not in accepted[login]:
            wanted = 'Basic realm="here"' if login == "basic" else realm
            self.send(401, _errors("UNAUTHORIZED", "log in"), {"WWW-Authenticate": wanted})
            return False
        if self.registry.forbids and writes:
            self.send(403, _errors("DENIED", "not yours"))
            return False
        return True

    def _give_token(self, query: dict[str, list[str]]) -> None:
        if self.headers.get("Authorization") == f"Basic {basic()}":
            self.send(200, json.dumps({"token": query.get("scope", [""])[0]}).encode())
        else:
            self.send(401, _errors("UNAUTHORIZED", "who are you?"))

    def _answer(self, line: str, query: dict[str, list[str]], body: bytes) -> Any:
        registry = self.registry
        if line == "GET /v2/":
            return 200, b"{}"
        if match := re.fullmatch(r"(?:GET|HEAD) /v2/.+/blobs/(sha256:\w+)", line):
            return (200, registry.blobs[match[1]]) if match[1] in registry.blobs else (404, b"")
        if match := re.fullmatch(r"POST (/v2/.+/blobs/uploads/)", line):
            return 202, b"", {"Location": f"{match[1]}session?state=a"}
        if line.startswith("PUT ") and line.endswith("/session"):
            (digest,) = query["digest"]
            if f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
                return 400, _errors("DIGEST_INVALID", "other bytes")
            registry.blobs[digest] = body
            return 201, b""
        if match := re.fullmatch(r"(GET|PUT) /v2/(.+)/manifests/(.+)", line):
            return self._manifest(match[1], f"{match[2]}:{match[3]}", body)
        return 404, _errors("NAME_UNKNOWN", line)

    def _manifest(self, method: str, name: str, body: bytes) -> Any:
        registry = self.registry
        if method == "GET":
            found = registry.manifests.get(name)
            return (200, found) if found else (404, _errors("MANIFEST_UNKNOWN", name))
        said = json.loads(body)
        needed = {one["digest"] for one in (said["config"], *said["layers"])}
        if not needed <= set(registry.blobs):
            return 404, _errors("MANIFEST_BLOB_UNKNOWN", "a blob is missing")
        registry.manifests[name] = body
        return 201, b""


def _errors(code: str, message: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()
