"""The figures of the report that was committed last, asked of git."""

import subprocess
from pathlib import Path

from pydantic import ValidationError

from scripts.report.history import History


def committed_figures(file: Path) -> History | None:
    """What HEAD holds of `file`; None where there is no git, no such file, or another format."""
    try:
        done = subprocess.run(
            ["git", "show", f"HEAD:./{file.as_posix()}"], capture_output=True, check=True
        )
        return History.model_validate_json(done.stdout)
    except (OSError, subprocess.CalledProcessError, ValidationError):
        return None
