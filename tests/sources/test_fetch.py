"""The stage Fetch: every source is pinned."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from scripts.errors import QuantmakeError, RecipeError
from scripts.sources.digest import sha256_of_folder
from scripts.sources.fetch import Fetch
from tests.sources.hub_server import COMMIT, Hub
from tests.sources.loopback import serve

HELLO = hashlib.sha256(b"hello").hexdigest()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_bytes(b"hello")
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_a_pinned_file_is_fetched(out: Path, tmp_path: Path) -> None:
    Fetch(source=f"path:{tmp_path}/a.txt", sha256=HELLO.upper()).run({}, out)
    assert (out / "a.txt").read_bytes() == b"hello"


def test_a_pinned_folder_is_fetched(out: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_text("w")
    Fetch(source=f"path:{model}", sha256=sha256_of_folder(model)).run({}, out)
    assert sha256_of_folder(out) == sha256_of_folder(model)


def test_another_digest_is_refused_with_both_and_nothing_is_left(out: Path, tmp_path: Path) -> None:
    with pytest.raises(QuantmakeError) as error:
        Fetch(source=f"path:{tmp_path}/a.txt", sha256="0" * 64).run({}, out)
    assert str(error.value) == (
        f"path:{tmp_path}/a.txt: the digest differs. The recipe pins sha256 {'0' * 64}, but what "
        f"was found (5 bytes) has {HELLO}. Either the source was changed or cut short, or the "
        "recipe's digest is wrong: look at the source first, and write the new digest only if the "
        "change is meant."
    )
    assert list(out.iterdir()) == []


def test_a_missing_digest_tells_the_line_to_add(out: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as error:
        Fetch(source=f"path:{tmp_path}/a.txt").run({}, out)
    assert str(error.value) == (
        f"path:{tmp_path}/a.txt is not pinned. What was found has this digest; if you trust it, "
        f"add the line below to the recipe, under the source:\n  sha256: {HELLO}"
    )
    assert list(out.iterdir()) == []


def test_an_empty_file_is_told(out: Path, tmp_path: Path) -> None:
    (tmp_path / "b.txt").touch()
    with pytest.raises(QuantmakeError) as error:
        Fetch(source=f"path:{tmp_path}/b.txt", sha256=HELLO).run({}, out)
    assert str(error.value) == f"path:{tmp_path}/b.txt: b.txt is empty (0 bytes)"


def test_a_digest_of_another_length_is_refused() -> None:
    with pytest.raises(ValidationError, match="found 'abc'; a SHA-256 has 64 hexadecimal digits"):
        Fetch(source="path:a", sha256="abc")


def test_secrets_of_a_url_stay_out_of_the_errors(out: Path) -> None:
    import fsspec

    with fsspec.open("memory://s/a.txt", "wb") as file:
        file.write(b"hello")
    for digest in (None, "0" * 64):
        with pytest.raises(QuantmakeError) as error:
            Fetch(source="memory://bob:pa55word@s/a.txt?sig=s1gnature", sha256=digest).run({}, out)
        assert "pa55word" not in str(error.value)
        assert "s1gnature" not in str(error.value)


def test_the_hubs_environment_holds_in_a_run_from_the_shell(tmp_path: Path) -> None:
    hub = Hub({"config.json": b"{}", "model.safetensors": b"w"}, token="hf_opensesame1")
    with serve(hub.handler()) as address:
        settings = {
            "HF_ENDPOINT": address,
            "HF_TOKEN": "hf_opensesame1",
            "HF_HOME": str(tmp_path / "home"),
        }
        command = [sys.executable, "-m", "scripts.exec", "scripts.sources.fetch:Fetch"]
        options = ["--out", str(tmp_path / "out"), f"source=hf:org/toy@{COMMIT}"]
        done = subprocess.run(
            [*command, *options],
            env=os.environ | settings,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    assert "hf_opensesame1" not in done.stdout + done.stderr
