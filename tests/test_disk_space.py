"""No space on the disk is said before the work starts."""

from pathlib import Path

import pytest

from scripts.disk_space import require_space
from scripts.errors import MachineError


def test_too_little_space_is_told_with_both_figures(tmp_path: Path) -> None:
    require_space(tmp_path, 1)
    with pytest.raises(MachineError, match=r"this needs 1,000,000.0 GB beside .*GB are free"):
        require_space(tmp_path, 10**15)
