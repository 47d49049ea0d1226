"""Free space on the disk, looked at before long work starts."""

import shutil
from pathlib import Path

from scripts.errors import MachineError


def require_space(folder: Path, needed: int) -> None:
    """Raise MachineError where the disk of `folder` has fewer than `needed` bytes left."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise MachineError(
            f"no room left on the disk: this needs {needed / 1e9:,.1f} GB beside {folder}, and "
            f"{free / 1e9:,.1f} GB are free. Free some space (`cache/` may be deleted at any time) "
            "and run doit again."
        )
