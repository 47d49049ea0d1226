"""Large constants wait in files, small ones and those without a folder in memory."""

from pathlib import Path

import numpy as np

from scripts.backends.onnx.graph import constant, open_graph, write_model


def held_in_a_file(value: np.ndarray) -> bool:
    """Whether an array is a view of a mapped file."""
    while value is not None:
        if isinstance(value, np.memmap):
            return True
        value = getattr(value, "base", None)
    return False


def test_large_constants_wait_in_a_file_that_nobody_sees(tiny_graph: Path, tmp_path: Path) -> None:
    model = open_graph(tiny_graph, tmp_path)
    large = np.arange(600_000, dtype=np.uint16).reshape(600, 1000)
    small = np.ones(5, np.float32)
    found = [
        constant(model, name, value).const_value.numpy()
        for name, value in (("large", large), ("small", small))
    ]
    assert held_in_a_file(found[0])
    assert not held_in_a_file(found[1])
    assert np.array_equal(found[0], large)
    assert not list(tmp_path.iterdir())


def test_without_a_folder_they_stay_in_memory(tiny_graph: Path) -> None:
    large = np.ones((1000, 1000), np.float32)
    value = constant(open_graph(tiny_graph), "large", large).const_value.numpy()
    assert not held_in_a_file(value)


def test_folder_is_no_part_of_the_written_graph(tiny_graph: Path, tmp_path: Path) -> None:
    for name, scratch in (("with", tmp_path), ("without", None)):
        (tmp_path / name).mkdir()
        write_model(open_graph(tiny_graph, scratch), tmp_path / name)
    written = [(tmp_path / name / "model.onnx").read_bytes() for name in ("with", "without")]
    assert written[0] == written[1]
    assert str(tmp_path).encode() not in written[0]
