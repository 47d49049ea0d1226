"""An environment for each peer, with its pinned packages, made once below `cache/peers/`."""

import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from scripts.benchmarks.peer import Peer
from scripts.benchmarks.peers.child import run
from scripts.errors import MachineError, QuantmakeError
from scripts.pins import TORCH_ARGUMENTS

_STAMP = "packages.txt"


def python_of(peer: Peer, folder: Path) -> str:
    """The Python that runs a peer: that of its environment in `folder`, or quantmake's own.

    Raises MachineError with pip's last words where its packages can't be installed.
    """
    if not peer.packages:
        return sys.executable
    environment, wanted = folder / "venv", "\n".join(peer.packages) + "\n"
    python, stamp = str(environment / "bin" / "python"), environment / _STAMP
    if not stamp.is_file() or stamp.read_text() != wanted:
        venv.create(environment, with_pip=True)
        _install(peer, python, folder / "install.log")
        if peer.without:
            command = [python, "-m", "pip", "uninstall", "--yes", *peer.without]
            run("pip", command, folder / "uninstall.log")
        stamp.write_text(wanted)
    return python


def _install(peer: Peer, python: str, log: Path) -> None:
    """PyTorch's builds for CPUs are on its own index, which is asked where the user's have none."""
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    ways: list[Sequence[str]] = [(), TORCH_ARGUMENTS]
    for number, more in enumerate(ways):
        try:
            run("pip", [*pip, *more, *peer.packages], log)
        except QuantmakeError as error:
            if number + 1 == len(ways):
                raise MachineError(f"{peer.name} could not be installed: {error}") from None
        else:
            return
