"""The stores of a build: what is taken out of them and put in. One that fails costs a warning."""

import errno
from pathlib import Path

from scripts.engine import console
from scripts.engine.build.action import Action
from scripts.engine.session import STORE, only_fetches, remote_place, store_keys
from scripts.engine.store.files import remove
from scripts.engine.store.local import LocalStore, Store, StoreError, checkout
from scripts.engine.store.manifest import Manifest
from scripts.engine.store.remote import RemoteStore

_silent: set[str] = set()


def local_store(action: Action) -> LocalStore:
    """This machine's store, as the files of this action may be kept in it."""
    return LocalStore(STORE, hard_links=action.stage.linkable)


def shared_store(place: str) -> RemoteStore:
    """The store that machines share, as this one may use it."""
    return RemoteStore(place, read_only=only_fetches(), trusted=store_keys())


def may_be_kept(action: Action) -> bool:
    """Whether a store may hold what the action made."""
    return action.stage.reproducible and action.stage.is_settled(action.target)


def keep(store: Store, key: str, manifest: Manifest, target: Path) -> None:
    """Put a result into a store."""
    try:
        store.put_blobs(manifest, target)
        store.put_record(key, manifest)
    except (StoreError, OSError) as error:
        _warn(store, error)


def fetch(action: Action, key: str, out: Path) -> bool:
    """Take the result of the action `key` out of the first store that has it.

    What machines may not take from each other, code that is run above all, is in this one's own.
    """
    place = remote_place() if action.stage.shared else None
    stores: list[Store] = [local_store(action)]
    if place is not None:
        stores.append(shared_store(place))
    for store in stores:
        try:
            if checkout(store, key, out) is not None:
                return True
        except (StoreError, OSError) as error:
            _warn(store, error)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
        remove(out)
    return False


def _warn(store: Store, error: Exception) -> None:
    """Say once what is wrong with a store; the build goes on without it."""
    text = f"warning: {store.name}: {error}. Going on without it."
    if text not in _silent:
        _silent.add(text)
        console.current().say(text)
