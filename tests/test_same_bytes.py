"""Every kind of artefact has the same bytes on each processor and number of threads.

`golden_digests.json` holds the digests: each machine that runs this is a witness. qemu-user, where
it is installed (`apt install qemu-user`), emulates other processors. Where bytes are meant to
change, `python -m tests.test_same_bytes` writes the file anew.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scripts.environment import is_canonical, stage_environment
from tests.checkout import OF_EXTRAS, is_installed

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = Path(__file__).with_name("golden_digests.json")
QEMU = shutil.which("qemu-x86_64")


def digests(scratch: Path, toolchain: Path, prefix: Sequence[str] = ()) -> dict[str, str]:
    """Of all that `tests.same_bytes` makes in a process started by the command `prefix`."""
    made, answer = scratch / "made", scratch / "digests.json"
    made.mkdir(parents=True)
    python = scratch / "python"
    python.write_text(f'#!/bin/sh\nexec {" ".join(prefix)} {sys.executable} "$@"\n')
    python.chmod(0o755)
    environment = {**stage_environment(os.environ, canonical=True), "PYTHONPATH": str(ROOT)}
    paths = map(str, (made, toolchain, answer, *([python] if "-cpu" in prefix else [])))
    done = subprocess.run(
        [str(python), "-m", "tests.same_bytes", *paths],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    found: dict[str, str] = json.loads(answer.read_text())
    return found


def refuse_others(found: dict[str, str], *, with_gguf: bool = True) -> None:
    """Fail with the files whose digests are not the golden ones."""
    golden = json.loads(GOLDEN.read_text())
    left_out = {
        name for backend, lines in OF_EXTRAS.items() for name in lines if not is_installed(backend)
    }
    golden = {
        name: one
        for name, one in golden.items()
        if (with_gguf or ".gguf" not in name) and name.partition("/")[0] not in left_out
    }
    other = [name for name in sorted({*golden, *found}) if golden.get(name) != found.get(name)]
    assert not other, f"{len(other)} of {len(golden)} files have other bytes: {', '.join(other)}"


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_canonical(), reason="this processor has no AVX2 and FMA"),
]


@pytest.mark.parametrize("cores", ["0", "0,1"])
def test_on_this_processor(cores: str, toolchain: Path, tmp_path: Path) -> None:
    if len(os.sched_getaffinity(0)) < len(cores.split(",")):
        pytest.skip("this machine has one core")
    refuse_others(digests(tmp_path, toolchain, ["taskset", "-c", cores]))


@pytest.mark.skipif(QEMU is None, reason="qemu-user is not installed: apt install qemu-user")
def test_on_emulated_processors(toolchain: Path, tmp_path: Path) -> None:
    """Side by side: each takes a core for some minutes."""

    def on(processor: str) -> dict[str, str]:
        return digests(tmp_path / processor, toolchain, [str(QEMU), "-cpu", processor])

    with ThreadPoolExecutor() as pool:
        for found in pool.map(on, ("EPYC-Milan", "Haswell-noTSX")):
            refuse_others(found, with_gguf=False)


def write_golden() -> None:
    """What this processor makes, as the digests that all others have to make."""
    import tempfile

    from scripts.backends.gguf.toolchain import Toolchain

    with tempfile.TemporaryDirectory() as folder:
        toolchain = Path(folder) / "toolchain"
        toolchain.mkdir()
        Toolchain().run({}, toolchain)
        found = digests(Path(folder) / "all", toolchain)
    GOLDEN.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    write_golden()
