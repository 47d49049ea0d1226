"""An OCI registry as a place, by oras: a blob for each file, then the manifest under its tag.

Specifications: OCI distribution v1.1, OCI image manifest v1.1 with an `artifactType` and the empty
config. A layer's title is the file's path, so `oras pull` writes the files as they were.
Credentials are those of `docker login` and `oras login` (~/.docker/config.json).
"""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.errors import MachineError, QuantmakeError
from scripts.extras import command_for
from scripts.publish.media_types import FILE_TYPE, MANIFEST_TYPE
from scripts.publish.package import Package, Piece
from scripts.sources.redact import redact

if TYPE_CHECKING:
    from scripts.publish.registry_client import RegistryClient

_ARTIFACT_TYPE = "application/vnd.quantmake.artifact.v1"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_EMPTY = b"{}"
_EMPTY_DIGEST = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
_TITLE = "org.opencontainers.image.title"


@dataclass(frozen=True)
class RegistryTag:
    """A tag of a repository in a registry."""

    registry: str
    name: str
    tag: str

    def __str__(self) -> str:
        return f"oci:{self.registry}/{self.name}:{self.tag}"

    def missing(self, package: Package) -> tuple[Piece, ...] | None:
        """As `Place.missing`."""
        with self._opened() as client:
            if client.manifest() == manifest_of(package):
                return None
            return tuple(one for one in package.files if not client.has(_layer(one)))

    def send(self, package: Package) -> str:
        """As `Place.send`. What is there is not sent again."""
        with self._opened() as client:
            for piece in package.files:
                if not client.has(_layer(piece)):
                    client.upload(piece.path, _layer(piece))
            with tempfile.TemporaryDirectory() as folder:
                empty = Path(folder) / "empty.json"
                empty.write_bytes(_EMPTY)
                if not client.has(_empty()):
                    client.upload(empty, _empty())
            client.put_manifest(manifest_of(package))
        return f"{self.registry}/{self.name}:{self.tag}"

    @contextlib.contextmanager
    def _opened(self) -> "Iterator[RegistryClient]":
        """The client; what goes wrong within is explained."""
        try:
            from scripts.publish.registry_client import Refused, RegistryClient
        except ImportError as error:
            raise MachineError(
                f"publishing to a registry needs the package oras ({error}); install it with "
                f"{command_for(['oras'])}"
            ) from None
        import requests

        try:
            yield RegistryClient(self.registry, f"{self.name}:{self.tag}")
        except Refused as refused:
            raise self._explained(refused.status, redact(refused.words)) from None
        except requests.RequestException as error:
            said = " ".join(redact(str(error)).split())
            raise MachineError(
                f"{self}: the registry can't be reached ({type(error).__name__}: {said}); look at "
                "the network and the proxy. What was sent is kept: the same command goes on."
            ) from None

    def _explained(self, status: int, said: str) -> QuantmakeError:
        if status == 401:
            return QuantmakeError(
                f"{self}: the registry does not know who you are (401): run `docker login "
                f"{self.registry}` or `oras login {self.registry}`"
            )
        if status == 403:
            return QuantmakeError(
                f"{self}: the registry does not let you write there (403): look at the name, and "
                f"at the rights of the account that you logged in to {self.registry} with"
            )
        if status >= 500 or status == 429:
            return MachineError(
                f"{self}: the registry answered {status} ({said}). What was sent is kept: the same "
                "command goes on."
            )
        return QuantmakeError(f"{self}: the registry refused it ({status}: {said})")


def manifest_of(package: Package) -> dict[str, Any]:
    """The OCI manifest of a package: the same one for the same files, without a date."""
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": _ARTIFACT_TYPE,
        "config": _empty(),
        "layers": [
            {**_layer(piece), "annotations": {_TITLE: piece.name}} for piece in package.files
        ],
        "annotations": {_TITLE: package.title},
    }


def _layer(piece: Piece) -> dict[str, Any]:
    return {"mediaType": FILE_TYPE, "size": piece.size, "digest": f"sha256:{piece.sha256}"}


def _empty() -> dict[str, Any]:
    return {"mediaType": _EMPTY_TYPE, "size": len(_EMPTY), "digest": _EMPTY_DIGEST}
