"""The same store on S3, GCS, Azure, WebDAV or in a shared folder, through obstore.

Credentials come from the environment that each service's own tools read (AWS_ACCESS_KEY_ID, …).
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from scripts.engine.secrets import mask
from scripts.engine.store.local import StoreError
from scripts.engine.store.manifest import Manifest, paths_in
from scripts.engine.store.signing import NotTrusted, pack, unpack

Result = TypeVar("Result")
_TIMEOUT = {"timeout": "30s", "connect_timeout": "5s"}
_RETRIES = {"max_retries": 2}


def _put(name: str, what: Path | bytes, store: Any) -> None:
    import obstore

    obstore.put(store, name, what)


class UntrustedRecord(StoreError):
    """A record that nobody signed who is trusted: it counts for nothing, and may be replaced."""


class RemoteStore:
    """An object store at a URL such as s3://bucket/prefix, or a folder that machines share.

    Where it is `read_only`, nothing is put or dropped, whatever the credentials allow. Where keys
    are `trusted`, records count only with a signature by one of them.
    """

    def __init__(
        self, place: str, *, read_only: bool = False, trusted: tuple[str, ...] = ()
    ) -> None:
        self._read_only, self._trusted = read_only, trusted
        self.name = f"the store {mask(place)}"
        self._place = place
        self._opened: Any = None

    def _open(self) -> Any:
        from obstore.store import LocalStore, from_url

        if "://" not in self._place:
            return LocalStore(Path(self._place).expanduser().resolve(), mkdir=True)
        if self._place.startswith("file://"):
            return LocalStore(Path(self._place.removeprefix("file://")), mkdir=True)
        options: Any = {**_TIMEOUT, "allow_http": self._place.startswith("http://")}
        retries: Any = _RETRIES
        return from_url(self._place, client_options=options, retry_config=retries)

    def _ask(self, work: Callable[[Any], Result]) -> Result:
        """Do `work` with the opened store; whatever goes wrong there is a StoreError."""
        try:
            if self._opened is None:
                self._opened = self._open()
            return work(self._opened)
        except FileNotFoundError:
            raise
        except Exception as error:  # each service raises its own kinds
            first = str(error).strip().partition("\n")[0]
            raise StoreError(f"{type(error).__name__}: {mask(first)}") from None

    def manifest(self, key: str) -> Manifest | None:
        """As `Store.manifest`."""
        import obstore

        try:
            data = self._ask(lambda store: bytes(obstore.get(store, f"ac/{key}").bytes()))
        except FileNotFoundError:
            return None
        try:
            return unpack(key, data, trusted=self._trusted)
        except NotTrusted as error:
            raise UntrustedRecord(str(error)) from None
        except (ValueError, KeyError, TypeError):
            raise StoreError(f"its record of {key[:12]}… can't be read") from None

    def fetch(self, sha256: str, place: Path) -> None:
        """As `Store.fetch`; the blob is streamed."""
        import obstore

        def work(store: Any) -> None:
            with place.open("xb") as file:
                for chunk in obstore.get(store, f"cas/{sha256}").stream():
                    file.write(chunk)

        try:
            self._ask(work)
        except FileNotFoundError:
            place.unlink(missing_ok=True)
            raise StoreError(f"its blob {sha256[:12]}… is missing") from None
        except StoreError:
            place.unlink(missing_ok=True)
            raise

    def has(self, sha256: str, size: int) -> bool:
        """Whether a blob of that size is there."""
        import obstore

        try:
            found = self._ask(lambda store: obstore.head(store, f"cas/{sha256}"))
        except FileNotFoundError:
            return False
        return int(found["size"]) == size

    def _refuse_writing(self) -> None:
        if self._read_only:
            raise StoreError("this machine may only fetch from it")

    def put_blobs(self, manifest: Manifest, target: Path) -> int:
        """As `Store.put_blobs`."""
        self._refuse_writing()
        sent = 0
        for entry in manifest.files:
            if not self.has(entry.sha256, entry.size):
                blob = f"cas/{entry.sha256}", paths_in(target, manifest)[entry.path]
                self._ask(functools.partial(_put, *blob))
                sent += entry.size
        return sent

    def put_record(self, key: str, manifest: Manifest) -> None:
        """As `Store.put_record`."""
        self._refuse_writing()
        try:
            record = pack(key, manifest, trusted=self._trusted)
        except NotTrusted as error:
            raise StoreError(str(error)) from None
        self._ask(functools.partial(_put, f"ac/{key}", record))

    def drop(self, sha256: str) -> None:
        """As `Store.drop`: under its own digest, other bytes serve nobody."""
        import obstore

        if self._read_only:
            return
        self._ask(lambda store: obstore.delete(store, f"cas/{sha256}"))
