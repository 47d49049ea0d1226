"""The environment of the older exporters: made when it is needed, of what the lock says."""

import hashlib
from pathlib import Path

import pytest

from scripts.backends.onnx import exporters
from scripts.backends.onnx.export import OnnxGraph
from scripts.errors import MachineError
from scripts.extras import environments, groups
from tests.checkout import ROOT

pytestmark = pytest.mark.slow  # an environment is made, by processes


def test_lock_is_in_the_key_of_the_graph() -> None:
    lock = (ROOT / "pylock.exporters.toml").read_bytes()
    assert OnnxGraph().exporters == hashlib.sha256(lock).hexdigest()


def test_set_up_makes_none() -> None:
    assert exporters.GROUP in groups()
    assert exporters.GROUP not in environments()


def test_it_is_made_once_and_anew_for_another_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    def make(place: Path) -> None:
        assert not place.exists()
        place.mkdir()
        made.append(place)

    monkeypatch.setattr(exporters, "_make", make)
    place = tmp_path / ".venv-exporters"
    assert exporters.interpreter(place) == place / "bin/python"
    exporters.interpreter(place)
    assert made == [place]
    monkeypatch.setattr(exporters, "lock_digest", lambda: "another")
    exporters.interpreter(place)
    assert made == [place, place]


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nothing"))
    with pytest.raises(MachineError) as caught:
        exporters.interpreter(tmp_path / ".venv-exporters")
    assert caught.value.exit_code == 3
    said = str(caught.value)
    assert said.startswith(
        "onnxruntime-genai's builder can't export this model, and the environment of the older "
        "exporters (.venv-exporters), which is made once, could not be made: pip can't install "
        "what pylock.exporters.toml lists. Look at the network and at pip's settings (pip config "
        "list), or take the artefacts with format onnx out of the recipe. pip said: ERROR: "
    )
    assert not (tmp_path / ".venv-exporters").exists()
