"""Files that are hashed while they are written; nobody reads them again for their digest."""

import hashlib
import os
from functools import partial
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx_ir import external_data

from scripts.backends.onnx.graph import DATA, constant, linears, write_model
from scripts.backends.onnx.integer.nodes import dynamic
from scripts.backends.onnx.integer.weights import nearest_of
from scripts.base.weights import Weights, write_fp16
from scripts.engine.store.manifest import make_manifest, sha256_of
from scripts.hashed_file import (
    DIGESTS_VARIABLE,
    HashedFile,
    hashing,
    identity,
    known_digests,
)
from scripts.tensors.spill import Spill
from tests.onnx_models import one_matmul


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where digests are written to."""
    monkeypatch.setenv(DIGESTS_VARIABLE, str(tmp_path / "told"))
    return tmp_path / "told"


def assert_known(told: Path, *paths: Path) -> None:
    digests = known_digests(told)
    for path in paths:
        assert digests[identity(path.stat())] == sha256_of(path)


def test_bytes_and_digest_are_those_of_a_plain_file(told: Path, tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    with HashedFile(tmp_path / "x") as file:
        assert file.write(data[:100]) == 100
        assert file.write(np.frombuffer(data[100:], np.uint8)) == len(data) - 100
        assert file.seek(len(data) + 1000) == file.tell()
        file.write(np.ones(5, np.float32))
    expected = data + bytes(1000) + np.ones(5, np.float32).tobytes()
    assert (tmp_path / "x").read_bytes() == expected
    assert_known(told, tmp_path / "x")
    assert list(known_digests(told).values()) == [hashlib.sha256(expected).hexdigest()]


def test_going_back_is_refused(tmp_path: Path) -> None:
    with HashedFile(tmp_path / "x") as file:
        file.write(b"abc")
        with pytest.raises(ValueError, match="can't go back from 3 to 1 in a file that is hashed"):
            file.seek(1)


def test_file_that_was_not_finished_has_no_digest(told: Path, tmp_path: Path) -> None:
    file = HashedFile(tmp_path / "x")
    file.write(b"abc")
    file.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert known_digests(told) == {}


def test_manifest_takes_digests_as_long_as_files_are_as_they_were(
    told: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with HashedFile(out / "x") as file:
        file.write(b"abc")
    (key,) = known_digests(told)
    assert make_manifest(out, {key: "told"}).files[0].sha256 == "told"
    (out / "x").rename(out / "y")
    (out / "y").chmod(0o600)
    assert make_manifest(out, {key: "told"}).files[0].sha256 == "told"
    os.utime(out / "y", ns=(0, 0))
    assert make_manifest(out, {key: "told"}) == make_manifest(out)
    told.write_text("half a li")
    assert known_digests(told) == {}


def test_all_that_stages_write_themselves_is_hashed_on_the_way(told: Path, tmp_path: Path) -> None:
    write_fp16(Weights({"a": (30, 40)}, lambda _: torch.ones(30, 40)), tmp_path)
    with Spill(tmp_path) as spill:
        spill.add({"b": torch.arange(7), "a": torch.ones(3).half()})
        spill.save(tmp_path / "spilled", {"format": "pt"})
    model = one_matmul(np.ones((512, 1024), np.float32))
    dynamic(model, linears(model), partial(nearest_of, per_channel=True))
    constant(model, "unused", np.ones(3))
    write_model(model, tmp_path)
    assert_known(told, tmp_path / "model.safetensors", tmp_path / "spilled", tmp_path / DATA)


def test_other_open_files_of_the_module_are_left_alone(tmp_path: Path) -> None:
    with hashing(external_data):
        assert "open" in vars(external_data)
    assert "open" not in vars(external_data)
    assert ir.DataType.FLOAT.itemsize == 4
