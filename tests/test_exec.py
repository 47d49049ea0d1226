"""One stage by hand: `python -m scripts.exec`."""

import subprocess
import sys
from pathlib import Path

import pytest


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [sys.executable, "-m", "scripts.exec", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["out", "qwen2.5-int8"])
def test_a_stage_by_hand(tiny_text: Path, tmp_path: Path, name: str) -> None:
    """Whether a stage writes a folder does not depend on how the folder is called."""
    out = tmp_path / name
    done = run(
        "scripts.sources.fetch:Fetch",
        "--out",
        str(out),
        f"source=path:{tiny_text}",
    )
    assert done.returncode == 2
    digest = done.stderr.rpartition("sha256: ")[2].strip()
    done = run(
        "scripts.sources.fetch:Fetch",
        "--out",
        str(out),
        f"source=path:{tiny_text}",
        f"sha256={digest}",
    )
    assert done.returncode == 0, done.stderr
    assert (out / tiny_text.name).read_text() == tiny_text.read_text()


def test_unknown_stage_and_option() -> None:
    done = run("scripts.sources.fetch:Fitch", "--out", "x")
    assert done.returncode == 2
    assert "there is no stage 'scripts.sources.fetch:Fitch'" in done.stderr
    done = run("scripts.sources.fetch:Fetch", "--out", "x", "source=path:x", "sha=1")
    assert done.returncode == 2
    assert "sha: Extra inputs are not permitted" in done.stderr
