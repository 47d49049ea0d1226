"""Enough of the hub's HTTP interface to publish by its own client: repositories, LFS, commits."""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.publish.routed import Routed

TOKEN = "hf_" + "publisher1"
FIRST = {".gitattributes": b"*.safetensors filter=lfs\n"}
DROPPED = 0
"""In `faults`: read half of what is sent, then close the connection."""

Files = dict[str, bytes]


@dataclass
class Repository:
    """Branches name commits; a commit is all files of a revision."""

    private: bool
    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: Files) -> str:
        """A new commit on a branch."""
        name = hashlib.sha1(repr((len(self.commits), sorted(files))).encode()).hexdigest()
        self.commits[name], self.branches[branch] = dict(files), name
        return name

    def files(self, branch: str = "main") -> Files:
        """What a branch has."""
        return self.commits[self.branches[branch]]


@dataclass
class Hub:
    """All repositories, the storage of large files, and what was asked for.

    `faults` has statuses that requests get whose line holds the key, one after another. What
    `unsaid` names is done, and the answer gets lost. `reads_only` is a token that may not write.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    storage: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    faults: dict[str, list[int]] = field(default_factory=dict)
    unsaid: list[str] = field(default_factory=list)
    reads_only: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """A handler class for http.server."""
        return type("Handler", (_Handler,), {"hub": self})

    def wrote(self) -> list[str]:
        """The requests that change something that people see, or send bytes."""
        return [one for one in self.asked if re.match("PUT|POST .*/(commit|create|branch)", one)]


def is_large(name: str) -> bool:
    """What goes into the storage of large files."""
    return name.endswith((".safetensors", ".gguf", ".onnx"))


def blob_id(data: bytes) -> str:
    """git's name of a blob."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(Routed):
    hub: Hub

    def route(self) -> None:
        line = f"{self.command} {self.path.partition('?')[0]}"
        with self.hub.lock:
            self.hub.asked.append(line)
            fault = next((codes.pop(0) for key, codes in self._faults(line)), None)
        size = int(self.headers.get("Content-Length", 0))
        if fault == DROPPED:
            self.rfile.read(size // 2)
            self.close_connection = True
            return
        body = self.rfile.read(size)
        if fault is not None:
            self._send(fault, {"error": "out of order"})
            return
        if not line.startswith("PUT /storage/") and not self._may(line):
            return
        for pattern, answer in _ROUTES:
            if match := re.fullmatch(pattern, line):
                with self.hub.lock:
                    status, data, headers = answer(self, match, body)
                if any(part in line for part in self.hub.unsaid):
                    self.hub.unsaid.clear()
                    self.close_connection = True
                    return
                self._send(status, data, headers)
                return
        self._send(404, {"error": f"nothing at {line}"})

    def _faults(self, line: str) -> list[tuple[str, list[int]]]:
        return [(key, codes) for key, codes in self.hub.faults.items() if key in line and codes]

    def _may(self, line: str) -> bool:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._send(401, {"error": "Invalid credentials in Authorization header"})
            return False
        if self.hub.reads_only and not line.startswith(("GET", "HEAD")):
            self._send(403, {"error": "You need write access"})
            return False
        return True

    def _send(self, status: int, data: Any, headers: dict[str, str] | None = None) -> None:
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        self.send(status, body, headers)

    # Each answers with a status, data and headers.

    def create(self, match: re.Match[str], body: bytes) -> Any:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        url = f"http://{self.headers['Host']}/{name}"
        if name in self.hub.repositories:
            return 409, {"error": "You already created this model repo", "url": url}, {}
        made = self.hub.repositories[name] = Repository(asked["visibility"] == "private")
        made.commit("main", FIRST)
        return 200, {"url": url}, {}

    def info(self, match: re.Match[str], body: bytes) -> Any:
        found = self.hub.repositories.get(match[1])
        if found is None:
            return 404, {}, {"X-Error-Code": "RepoNotFound"}
        commit = found.branches.get(match[2].replace("%2F", "/"))
        if commit is None:
            return 404, {}, {"X-Error-Code": "RevisionNotFound"}
        return 200, {"id": match[1], "sha": commit, "private": found.private, "siblings": []}, {}

    def tree(self, match: re.Match[str], body: bytes) -> Any:
        files = self.hub.repositories[match[1]].commits[match[2]]
        return 200, [_entry(name, data) for name, data in files.items()], {}

    def commits(self, match: re.Match[str], body: bytes) -> Any:
        names = reversed(self.hub.repositories[match[1]].commits)
        more = {"authors": [], "date": "2026-01-01T00:00:00.000Z", "title": "", "message": ""}
        return 200, [{"id": name, **more} for name in names], {}

    def branch(self, match: re.Match[str], body: bytes) -> Any:
        found = self.hub.repositories[match[1]]
        found.branches[match[2].replace("%2F", "/")] = json.loads(body)["startingPoint"]
        return 200, {}, {}

    def validate(self, match: re.Match[str], body: bytes) -> Any:
        assert json.loads(body)["content"].startswith("---\n")
        return 200, {"errors": [], "warnings": []}, {}

    def preupload(self, match: re.Match[str], body: bytes) -> Any:
        files = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if is_large(one["path"]) else "regular",
                "shouldIgnore": False,
            }
            for one in json.loads(body)["files"]
        ]
        return 200, {"files": files}, {}

    def batch(self, match: re.Match[str], body: bytes) -> Any:
        objects = []
        for one in json.loads(body)["objects"]:
            upload = {"href": f"http://{self.headers['Host']}/storage/{one['oid']}"}
            there = one["oid"] in self.hub.storage
            objects.append(one if there else {**one, "actions": {"upload": upload}})
        return 200, {"transfer": "basic", "objects": objects}, {}

    def store(self, match: re.Match[str], body: bytes) -> Any:
        if hashlib.sha256(body).hexdigest() != match[1]:
            return 400, {"error": "other bytes"}, {}
        self.hub.storage[match[1]] = body
        return 200, {}, {}

    def commit(self, match: re.Match[str], body: bytes) -> Any:
        found, branch = self.hub.repositories[match[1]], match[2].replace("%2F", "/")
        header, *rest = (json.loads(line) for line in body.splitlines())
        if header["value"].get("parentCommit") != found.branches[branch]:
            return 412, {"error": "the branch has moved"}, {}
        files = dict(found.files(branch))
        for one in rest:
            value = one["value"]
            if one["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif one["key"] == "lfsFile":
                files[value["path"]] = self.hub.storage[value["oid"]]
            else:
                assert one["key"] == "deletedFile", one
                del files[value["path"]]
        name = found.commit(branch, files)
        url = f"http://{self.headers['Host']}/{match[1]}/commit/{name}"
        return 200, {"commitUrl": url, "commitOid": name}, {}

    def settings(self, match: re.Match[str], body: bytes) -> Any:
        self.hub.repositories[match[1]].private = json.loads(body)["visibility"] == "private"
        return 200, {}, {}

    def resolve(self, match: re.Match[str], body: bytes) -> Any:
        data = self.hub.repositories[match[1]].commits[match[2]][match[3]]
        return 200, data, {"ETag": f'"{blob_id(data)}"', "X-Repo-Commit": match[2]}


def _entry(name: str, data: bytes) -> dict[str, Any]:
    entry = {"type": "file", "path": name, "size": len(data), "oid": blob_id(data)}
    if is_large(name):
        digest = hashlib.sha256(data).hexdigest()
        entry["lfs"] = {"oid": digest, "size": len(data), "pointerSize": 130}
    return entry


_NAME = r"([\w.-]+/[\w.-]+)"
_ROUTES = (
    (r"POST /api/repos/create", _Handler.create),
    (rf"GET /api/models/{_NAME}/revision/(.+)", _Handler.info),
    (rf"GET /api/models/{_NAME}/tree/(\w+)", _Handler.tree),
    (rf"GET /api/models/{_NAME}/commits/main", _Handler.commits),
    (rf"POST /api/models/{_NAME}/branch/(.+)", _Handler.branch),
    (r"POST /api/validate-yaml", _Handler.validate),
    (rf"POST /api/models/{_NAME}/preupload/.+", _Handler.preupload),
    (rf"POST /{_NAME}\.git/info/lfs/objects/batch", _Handler.batch),
    (r"PUT /storage/(\w+)", _Handler.store),
    (rf"POST /api/models/{_NAME}/commit/(.+)", _Handler.commit),
    (rf"PUT /api/models/{_NAME}/settings", _Handler.settings),
    (rf"(?:GET|HEAD) /{_NAME}/resolve/(\w+)/(.+)", _Handler.resolve),
)
