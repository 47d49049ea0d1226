"""What long stages keep of work that is not finished, by action key, so that it can go on."""

import shutil
from pathlib import Path

UNFINISHED = Path("cache/unfinished")


def folder_of(key: str) -> Path:
    """Where the stage of an action keeps its checkpoints; the stage makes it if it needs it."""
    return (UNFINISHED / key).absolute()


def drop(key: str) -> None:
    """Remove what the stage of an action kept: it is done, or is to start anew."""
    shutil.rmtree(folder_of(key), ignore_errors=True)


def sweep_unfinished(oldest: float) -> None:
    """Remove what nobody went on with since `oldest`, in seconds since the epoch."""
    for folder in UNFINISHED.glob("*"):
        if folder.stat().st_mtime < oldest:
            shutil.rmtree(folder, ignore_errors=True)
