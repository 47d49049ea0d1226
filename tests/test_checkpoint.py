"""What long stages keep of unfinished work."""

from pathlib import Path

import pytest
import torch

from scripts.checkpoint import Checkpoints
from scripts.errors import QuantmakeError


@pytest.mark.parametrize("damage", ["truncated", "removed"])
def test_damaged_checkpoint_is_told_and_the_next_run_starts_anew(
    tmp_path: Path, damage: str
) -> None:
    folder = tmp_path / "kept"
    checkpoints = Checkpoints(folder)
    checkpoints.save("layer0", {"x": torch.ones(4)})
    checkpoints.save("states", {"0": torch.ones(4)})
    assert checkpoints.load_finished("layer0")["x"].tolist() == [1, 1, 1, 1]
    file = folder / "layer0"
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:20])
    else:
        file.unlink()
    with pytest.raises(QuantmakeError, match="damaged \\(layer0 can't be read\\)"):
        checkpoints.load_finished("layer0")
    assert checkpoints.load("states") is None
