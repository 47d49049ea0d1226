"""Which extra has a package: pyproject.toml says it, and nothing else."""

import subprocess
import sys
from importlib import metadata
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from scripts import extras
from tests.checkout import ROOT


def test_command_names_the_extra_that_has_a_package() -> None:
    command = "python3.11 -m scripts.setup"
    assert extras.command_for(["openvino"]) == f"{command} --extra openvino"
    assert extras.command_for(["lm-eval", "torch"]) == f"{command} --extra lm-eval"
    assert extras.command_for(["pytest"]) == f"{command} --extra test"
    assert extras.command_for(["onnxruntime"]) == command
    assert extras.command_for(["mlx-lm"]) == f"{command} --extra mlx"
    several = extras.command_for(["openvino", "mlx", "mlx-lm"])
    assert several == f"{command} --extra mlx --extra openvino"


def test_what_is_not_installed_is_told() -> None:
    assert extras.missing(["torch", "nowhere-runtime"]) == ["nowhere-runtime"]


def test_environments_lie_beside_the_one_that_runs(tmp_path: Path) -> None:
    assert extras.environment_folder("mlx", tmp_path / ".venv") == tmp_path / ".venv-mlx"
    assert extras.environments()["mlx"] == ("mlx[cpu]==0.32.4", "mlx-lm==0.32.2")


def test_version_is_that_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "environment_folder", lambda _: tmp_path)
    version_of = extras.version_of.__wrapped__
    with pytest.raises(PackageNotFoundError):
        version_of("mlx-lm")
    info = tmp_path / "lib/python3.11/site-packages/mlx_lm-9.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mlx-lm\nVersion: 9.0\n")
    assert version_of("mlx-lm") == "9.0"
    assert version_of("torch") == metadata.version("torch")


def test_setup_offers_every_extra_and_the_tests_have_all() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.setup", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(name in done.stdout for name in (*extras.extras(), *extras.environments()))
    assert [*extras.extras()][-1] == "test"
    text = (ROOT / "pyproject.toml").read_text()
    assert f'"quantmake[{",".join(sorted({*extras.extras()} - {"test"}))}]"' in text


def test_default_install_has_no_package_of_an_extra() -> None:
    from scripts.pins import LOCKS, pinned

    assert "openvino" not in pinned(ROOT / LOCKS[False])
    assert "openvino" in pinned(ROOT / LOCKS[True])
    assert not {"mlx", "mlx-lm", "mlx-cpu"} & pinned(ROOT / LOCKS[True]).keys()
