"""Setting up a checkout: what the machine lacks is said in a paragraph, with exit code 3."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import setup
from tests.checkout import ROOT


def test_pinned_requirement_is_read_from_the_project() -> None:
    assert setup.requirement("llama-cpp-python", ROOT / "pyproject.toml").startswith(
        "llama-cpp-python=="
    )


def test_compiler_on_the_path_or_named_by_cxx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert not setup.has_compiler()
    compiler = tmp_path / "my-c++"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", "my-c++")
    assert setup.has_compiler()


def test_llama_is_compiled_for_what_the_processor_has_but_amx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup.platform, "machine", lambda: "x86_64")
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("flags : avx avx2 fma f16c bmi2 avx512f avx512_vnni amx_tile amx_int8\n")
    options = setup.llama_options(cpuinfo)
    assert options[0] == "-DGGML_NATIVE=OFF"
    assert {"-DGGML_AVX2=ON", "-DGGML_AVX512_VNNI=ON", "-DGGML_AVX512=OFF"} <= set(options)
    assert not [one for one in options if "AMX" in one]


def test_a_wheel_is_kept_for_the_options_that_it_was_compiled_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled = []

    def compile_(_: str, command: list[str], environment: dict[str, str]) -> None:
        folder = Path(command[command.index("--wheel-dir") + 1])
        folder.mkdir(parents=True)
        (folder / "llama.whl").touch()
        compiled.append(environment["CMAKE_ARGS"])

    monkeypatch.setattr(setup, "run", compile_)
    first = setup.make_wheel(Path("python"), "llama==1")
    assert setup.make_wheel(Path("python"), "llama==1") == first
    assert compiled == [" ".join(setup.llama_options())]
    monkeypatch.setattr(setup, "llama_options", lambda: ["-DGGML_AVX=OFF"])
    assert setup.make_wheel(Path("python"), "llama==1") != first
    assert len(compiled) == 2


def test_step_that_fails_shows_the_end_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-c", "print('no such header'); raise SystemExit(4)"]
    with pytest.raises(setup.SetupError) as error:
        setup.run("compiling", command)
    assert "compiling failed with exit code 4:\n" in str(error.value)
    assert "  | no such header" in str(error.value)
    assert "(log: cache/logs/setup.log)" in str(error.value)


def test_machine_without_a_compiler(tmp_path: Path) -> None:
    """pip finds no wheel and can't build one: the paragraph names the compiler."""
    shutil.copytree(
        ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("pyproject.toml", "pylock.toml"):
        shutil.copy(ROOT / name, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "scripts.setup"],
        cwd=tmp_path,
        env={
            **{name: value for name, value in os.environ.items() if name != "CXX"},
            "PATH": str(tmp_path),
            "PIP_NO_INDEX": "1",
            "PIP_CACHE_DIR": str(tmp_path / "empty"),
            "XDG_CACHE_HOME": str(tmp_path / "no wheels"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stdout + done.stderr
    assert "there is no C++ compiler on the PATH" in done.stderr
    assert "apt install g++" in done.stderr
    assert "Traceback" not in done.stderr


def test_environment_that_a_platform_lacks_is_left_out_or_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(setup, "make_venv", lambda folder: folder / "bin/python")
    monkeypatch.setattr(setup.pins, "apply_here", lambda: False)
    asked = []

    def run(what: str, command: list[str]) -> None:
        asked.append((what, command[0], Path(command[-1]).read_text()))
        raise setup.SetupError("no wheel")

    monkeypatch.setattr(setup, "run", run)
    with pytest.raises(setup.SetupError):
        setup.install_environment("mlx")
    setup.install_if_possible("mlx")
    packages = "mlx[cpu]==0.32.4\nmlx-lm==0.32.2\n"
    assert asked == 2 * [("the environment mlx", ".venv-mlx/bin/python", packages)]
    assert "the environment mlx is left out, and what needs it skipped: no wheel" in (
        capsys.readouterr().out
    )


def test_several_extras_are_installed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    monkeypatch.setattr(setup, "make_venv", lambda: Path("python"))
    monkeypatch.setattr(setup, "install", lambda _, chosen: made.append(chosen))
    monkeypatch.setattr(setup, "install_environment", made.append)
    extras = ["--extra", "openvino", "--extra", "mlx", "--extra", "sign"]
    monkeypatch.setattr(sys, "argv", ["setup", *extras])
    assert setup.main() == 0
    assert made == [["openvino", "sign"], "mlx"]
