"""No room on the disk is said before the work starts."""

from pathlib import Path

import pytest

from scripts.errors import MachineError
from scripts.room import require_room


def test_too_little_room_is_told_with_both_figures(tmp_path: Path) -> None:
    require_room(tmp_path, 1)
    with pytest.raises(MachineError, match=r"this needs 1,000,000.0 GB beside .*GB are free"):
        require_room(tmp_path, 10**15)
