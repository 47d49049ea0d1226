"""Which extra has a package: pyproject.toml says it, and nothing else."""

import subprocess
import sys

from scripts import extras
from tests.checkout import ROOT


def test_command_names_the_extra_that_has_a_package() -> None:
    command = "python3.11 -m scripts.setup"
    assert extras.command_for(["openvino"]) == f"{command} --extra openvino"
    assert extras.command_for(["lm-eval", "torch"]) == f"{command} --extra lm-eval"
    assert extras.command_for(["pytest"]) == f"{command} --extra test"
    assert extras.command_for(["onnxruntime"]) == command


def test_what_is_not_installed_is_told() -> None:
    assert extras.missing(["torch", "nowhere-runtime"]) == ["nowhere-runtime"]


def test_setup_offers_every_extra_and_the_tests_have_all() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.setup", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(name in done.stdout for name in extras.extras())
    assert [*extras.extras()][-1] == "test"
    text = (ROOT / "pyproject.toml").read_text()
    assert f'"quantmake[{",".join(sorted({*extras.extras()} - {"test"}))}]"' in text


def test_default_install_has_no_package_of_an_extra() -> None:
    from scripts.pins import LOCKS, pinned

    assert "openvino" not in pinned(ROOT / LOCKS[False])
    assert "openvino" in pinned(ROOT / LOCKS[True])
