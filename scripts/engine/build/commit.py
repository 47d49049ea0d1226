"""Commit by rename: a target is the old one or the new one at any instant, never a mixture."""

import contextlib
import ctypes
import errno
import os
import shutil
from pathlib import Path

from scripts.engine.store.files import sync, write_atomically
from scripts.engine.store.manifest import Manifest, files_of, make_manifest, manifest_path

DIGESTS = "digests"
"""In a scratch folder: what the stage says of the files that it hashed as it wrote them."""

_RENAME_EXCHANGE = 2  # linux/fs.h
_AT_FDCWD = -100  # fcntl.h


def scratch_of(target: Path) -> Path:
    """The folder beside `target` in which this process builds it; on the same file system.

    Another process never gets the same one: a stage that a killed doit left behind may write on.
    """
    return target.parent / ".scratch" / target.name / str(os.getpid())


def fresh_scratch(target: Path) -> Path:
    """An empty scratch folder; whatever a killed build left in it is swept."""
    scratch = scratch_of(target)
    put_back(target)
    shutil.rmtree(scratch.parent, ignore_errors=True)
    scratch.mkdir(parents=True)
    return scratch


def drop_scratch(target: Path) -> None:
    """Remove the scratch folder of `target`, and the room of all scratch once it is empty."""
    room = scratch_of(target).parent
    put_back(target)
    shutil.rmtree(room, ignore_errors=True)
    with contextlib.suppress(OSError):
        room.parent.rmdir()


def put_back(target: Path) -> None:
    """Give `target` its place again, where a kill between two renames had left it aside."""
    room = scratch_of(target).parent
    if not room.is_dir() or target.exists():
        return
    for scratch in room.iterdir():
        aside = scratch / _aside_name(target)
        if aside.exists():
            aside.rename(target)
            return


def _aside_name(target: Path) -> str:
    return f"{target.name}.old"


def _exchange(new: Path, target: Path) -> None:
    """Swap two paths in one step where the kernel and the file system can, else in two renames."""
    if swap_at_once(new, target):
        return
    aside = new.with_name(_aside_name(target))
    target.rename(aside)
    new.rename(target)


def swap_at_once(new: Path, target: Path) -> bool:
    """Swap two paths by renameat2(2); false on old kernels, and on NFS, where there is none.

    Raises OSError where there is one and it fails.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.renameat2(
        _AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(target), _RENAME_EXCHANGE
    )
    code = ctypes.get_errno()
    if done != 0 and code not in (errno.ENOSYS, errno.EINVAL):
        raise OSError(code, os.strerror(code), str(target))
    return bool(done == 0)


def commit(new: Path, target: Path, manifest: Manifest | None = None) -> Manifest:
    """Make `new` durable, put it in the place of `target`, then write its `manifest`; where none
    is given, `new` is hashed.

    A crash between the last two leaves a target that differs from its manifest: it counts as
    stale and is built again.
    """
    for path in files_of(new):
        path.chmod(0o644)
        sync(path)
    manifest = manifest or make_manifest(new)
    sync(new)
    if not target.exists() or (target.is_file() and new.is_file()):
        new.rename(target)
    else:
        _exchange(new, target)
    sync(target.parent)
    write_atomically(manifest_path(target), manifest.to_json())
    return manifest
