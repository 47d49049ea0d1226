"""oras' client for one tag: with timeouts, streams in place of files in memory, and short pauses.

oras itself waits for two minutes before it says that a registry is out of reach or wants a login.
"""

import ipaddress
import logging
import time
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from oras.container import Container
from oras.logger import logger
from oras.provider import Registry
from oras.utils import append_url_params
from requests.adapters import HTTPAdapter

from scripts.publish.media_types import FILE_TYPE, MANIFEST_TYPE

_TIMEOUT_S = (10.0, 120.0)
"""To connect, and between bytes that are read."""

_PAUSES_S = (2.0, 10.0)
"""Between the tries, where the registry or the network fails."""


class Refused(Exception):
    """The registry's answer is no success."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(status, words)
        self.status, self.words = status, words


class _Timed(HTTPAdapter):
    """Requests that do not wait for ever."""

    def send(self, request: Any, *arguments: Any, **options: Any) -> requests.Response:
        """As HTTPAdapter.send."""
        return super().send(request, *arguments, **{**options, "timeout": _TIMEOUT_S})


class _Patient(Registry):  # type: ignore[misc]
    """oras' registry, which tries again where the registry or the network fails for a moment."""

    def do_request(self, url: str, method: str = "GET", **options: Any) -> requests.Response:
        """As Registry.do_request. Raises Refused for all but a success, and a 404 of what is asked
        for; requests' own errors where the registry can't be reached."""
        for pause in (*_PAUSES_S, None):
            try:
                response = self._ask(url, method, **options)
                if response.status_code < 500 or pause is None:
                    break
            except (requests.ConnectionError, requests.Timeout):
                if pause is None:
                    raise
            time.sleep(pause)
        if response.status_code >= 400 and not (
            response.status_code == 404 and method in ("GET", "HEAD")
        ):
            raise Refused(response.status_code, _words(response))
        return response

    def _ask(
        self, url: str, method: str, *, headers: dict[str, str] | None = None, **options: Any
    ) -> requests.Response:
        """One request, and a second one with a new token where the first is refused: a token that
        lets read is none that lets write."""
        headers, is_own = headers or {}, urlsplit(url).netloc == self.hostname
        if is_own:  # a registry may have blobs sent elsewhere, where nobody is to see the token
            headers = {**headers, **self.auth.get_auth_header()}
        response = self._send(url, method, headers=headers, **options)
        if response.status_code not in (401, 403) or not is_own:
            return response
        headers, is_new = self.auth.authenticate_request(response, headers, refresh=True)
        return self._send(url, method, headers=headers, **options) if is_new else response

    def _send(self, url: str, method: str, **options: Any) -> requests.Response:
        if options.get("data") is not None:
            options["data"].seek(0)
        response: requests.Response = self.session.request(
            method, url, verify=self._tls_verify, **options
        )
        return response


class RegistryClient:
    """One tag of a registry, as HOST[:PORT] and NAME:TAG; plain HTTP on this machine alone."""

    def __init__(self, host: str, name: str) -> None:
        logger.logger.setLevel(logging.CRITICAL)
        self._container = Container(f"{host}/{name}")
        is_here = _is_here(host)
        scheme = "http" if is_here else "https"
        asked = requests.get(f"{scheme}://{host}/v2/", timeout=_TIMEOUT_S)
        wants_basic = asked.headers.get("WWW-Authenticate", "").lower().startswith("basic")
        self._registry = _Patient(
            hostname=host, insecure=is_here, auth_backend="basic" if wants_basic else "token"
        )
        self._registry.session.mount(f"{scheme}://", _Timed())
        self._registry.auth.load_configs(self._container)
        if wants_basic and not hasattr(self._registry.auth, "_basic_auth"):
            raise Refused(401, "Unauthorized")  # oras fails where it has no password

    def manifest(self) -> dict[str, Any] | None:
        """What the tag stands for; None where there is no such tag."""
        url = self._url(self._container.manifest_url())
        response = self._registry.do_request(url, "GET", headers={"Accept": MANIFEST_TYPE})
        if response.status_code == 404:
            return None
        found: dict[str, Any] = response.json()
        return found

    def has(self, layer: dict[str, Any]) -> bool:
        """Whether a blob is there."""
        return bool(self._registry.blob_exists(layer, self._container))

    def upload(self, path: Path, layer: dict[str, Any]) -> None:
        """Send a blob as a stream; the registry keeps it only where its digest holds."""
        url = self._url(self._container.upload_blob_url())
        begun = self._registry.do_request(url, "POST", headers={"Content-Length": "0"})
        place = urljoin(url, begun.headers.get("Location", ""))
        headers = {"Content-Type": FILE_TYPE, "Content-Length": str(layer["size"])}
        with path.open("rb") as file:
            target = append_url_params(place, {"digest": layer["digest"]})
            self._registry.do_request(target, "PUT", data=file, headers=headers)

    def put_manifest(self, manifest: dict[str, Any]) -> None:
        """Make the tag stand for `manifest`."""
        self._registry.upload_manifest(manifest, self._container)

    def _url(self, place: str) -> str:
        return f"{self._registry.prefix}://{place}"


def _is_here(host: str) -> bool:
    """Whether a registry is on this machine: such a one speaks plain HTTP, as with docker."""
    name = host.rpartition(":")[0] or host
    try:
        return name == "localhost" or ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _words(response: requests.Response) -> str:
    """What a registry says of an error, in one line (the specification's `errors`)."""
    try:
        said = "; ".join(one["message"] for one in response.json()["errors"])
    except (ValueError, KeyError, TypeError):
        said = ""
    return " ".join((said or response.reason or "no reason given").split())
