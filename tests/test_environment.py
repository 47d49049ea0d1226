"""What a stage's process inherits, and what fixes its arithmetic."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import environment
from scripts.environment import arithmetic, arithmetic_key, stage_environment

CALLER = {
    "PATH": "/bin",
    "HF_TOKEN": "hf_x",
    "https_proxy": "http://proxy",
    "QUANTMAKE_STORE": "s3://x",
    "LD_PRELOAD": "evil.so",
    "MKL_CBWR": "AVX512",
    "ATEN_CPU_CAPABILITY": "avx512",
    "OMP_NUM_THREADS": "7",
    "NUMBA_CPU_NAME": "generic",
    "OPENBLAS_CORETYPE": "SkylakeX",
    "PYTHONHASHSEED": "3",
    "LC_ALL": "tr_TR",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
}


@pytest.mark.parametrize("canonical", [True, False])
def test_nothing_that_changes_bytes_gets_in(canonical: bool) -> None:
    made = stage_environment(CALLER, canonical=canonical)
    assert {name: made[name] for name in list(CALLER)[:4]} == dict(list(CALLER.items())[:4])
    ours = {**arithmetic()} if canonical else {}
    for name in list(CALLER)[4:]:
        fixed = {**ours, "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}
        assert made.get(name) == fixed.get(name), name


def test_threads_that_wait_do_as_the_caller_says() -> None:
    """Sleeping ones cost llama.cpp two thirds of its speed, so nothing asks for it by itself."""
    for canonical in (True, False):
        assert "OMP_WAIT_POLICY" not in stage_environment(CALLER, canonical=canonical)
        asked = stage_environment({"OMP_WAIT_POLICY": "passive"}, canonical=canonical)
        assert asked["OMP_WAIT_POLICY"] == "passive"


def test_made_again_it_is_the_same() -> None:
    once = stage_environment(CALLER, canonical=True)
    assert stage_environment(once, canonical=True) == once


def test_the_key_holds_the_arithmetic_or_the_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")

    def keys(model: str, flags: str) -> tuple[dict[str, str], dict[str, str]]:
        text = (
            f"vendor_id\t: {model}\ncpu family\t: 6\nmodel\t: 1\nflags\t: {flags}\n\nflags\t: -\n"
        )
        monkeypatch.setattr(environment, "_cpuinfo", lambda: text)
        return arithmetic_key(canonical=True), arithmetic_key(canonical=False)

    intel, amd = (
        keys("GenuineIntel", "avx2 fma f16c avx512f"),
        keys("AuthenticAMD", "avx2 fma f16c"),
    )
    assert intel[0] == amd[0] == {"machine": "x86_64", **arithmetic()}
    assert intel[1] != amd[1]
    assert intel[1]["processor"] == "vendor_id GenuineIntel, cpu family 6, model 1"
    old = keys("GenuineIntel", "sse4_2")
    assert old[0] == old[1]  # it can't compute that way, and says which it is


def test_a_stage_run_from_a_shell_gets_it_too(tmp_path: Path) -> None:
    """`python -m scripts.exec` begins anew where a shell's variables would change the bytes."""
    (tmp_path / "told.py").write_text(
        "import json, os\n"
        "from scripts.stage import Stage\n"
        "class Told(Stage):\n"
        "    '''Tell the environment'''\n"
        "    suffix = '.json'\n"
        "    def run(self, inputs, out):\n"
        "        out.write_text(json.dumps(dict(os.environ)))\n"
    )
    path = f"{tmp_path}:{Path(__file__).parents[1]}"
    command = [
        sys.executable,
        "-m",
        "scripts.exec",
        "told:Told",
        "--out",
        str(tmp_path / "out.json"),
    ]
    subprocess.run(command, env={**CALLER, "PYTHONPATH": path}, check=True)

    told = json.loads((tmp_path / "out.json").read_text())
    assert "LD_PRELOAD" not in told
    assert told.items() >= arithmetic().items()
