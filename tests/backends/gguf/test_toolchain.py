"""The converter comes from the pinned source distribution, and nothing else does."""

import hashlib
import io
import re
import tarfile
from importlib import metadata
from pathlib import Path

import pytest

from scripts.backends.gguf.toolchain import VERSION, Toolchain, unpack
from scripts.errors import MachineError, QuantmakeError, RecipeError
from scripts.exec import run_stage

pytestmark = pytest.mark.slow  # pip fetches

TOP = f"llama_cpp_python-{VERSION}"
CONVERTER = {
    "vendor/llama.cpp/convert_hf_to_gguf.py": "",
    "vendor/llama.cpp/conversion/base.py": "",
    "vendor/llama.cpp/gguf-py/gguf/__init__.py": "",
    "vendor/llama.cpp/LICENSE": "MIT",
}
BACKEND = """
from pathlib import Path
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    Path({marker!r}).touch()
    info = Path(folder) / "llama_cpp_python-{version}.dist-info"
    info.mkdir()
    text = "Metadata-Version: 2.1\\nName: llama-cpp-python\\nVersion: {version}\\n"
    (info / "METADATA").write_text(text)
    (info / "WHEEL").write_text("Wheel-Version: 1.0\\n")
    return info.name
"""
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def write_archive(path: Path, files: dict[str, str]) -> str:
    """Write a source distribution with these files; return its SHA-256."""
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(f"{TOP}/{name}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all that pip can see."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def write_index(index: Path, **more: str) -> str:
    """Put a source distribution with a converter into the index; return its SHA-256."""
    backend = BACKEND.format(marker=str(index / "ran"), version=VERSION)
    info = f"Metadata-Version: 2.1\nName: llama-cpp-python\nVersion: {VERSION}\n"
    return write_archive(
        index / f"{TOP}.tar.gz",
        {"PKG-INFO": info, "pyproject.toml": PROJECT, "backend.py": backend, **more},
    )


def test_takes_the_converter_and_nothing_else(index: Path, out: Path) -> None:
    others = {"vendor/llama.cpp/src/llama.cpp": "", "vendor/llama.cpp/LICENSES.txt": ""}
    sha256 = write_index(index, **CONVERTER, **others)
    run_stage(Toolchain(sha256=sha256), {}, out)
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert files == {name.removeprefix("vendor/llama.cpp/") for name in CONVERTER}
    assert {path.name for path in out.parent.iterdir()} == {"index", "out"}


def test_other_digest_is_refused_before_anything_runs(index: Path, out: Path) -> None:
    sha256, wrong = write_index(index, **CONVERTER), "0" * 64
    with pytest.raises(QuantmakeError, match=rf"sha256 {wrong} is pinned, but .* has {sha256}\."):
        Toolchain(sha256=wrong).run({}, out)
    assert not (index / "ran").exists()
    assert not list(out.iterdir())


def test_no_network_is_the_machines_fault(index: Path, out: Path) -> None:
    text = r"pip can't fetch the source of llama-cpp-python .*pip said: ERROR: .*No matching"
    with pytest.raises(MachineError, match=text):
        Toolchain().run({}, out)


def test_other_version_is_out_of_step(out: Path) -> None:
    text = f"llama-cpp-python {VERSION} is installed, but the converter is pinned to 0.0.1: keep"
    with pytest.raises(RecipeError, match=re.escape(text)):
        Toolchain(version="0.0.1").run({}, out)


def test_llama_cpp_python_is_not_installed(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(MachineError, match=r"llama-cpp-python is not installed.*C\+\+ compiler"):
        Toolchain().run({}, out)


def test_source_without_a_converter(index: Path, out: Path) -> None:
    text = r"has no convert_hf_to_gguf\.py, gguf-py/gguf/__init__\.py below vendor/llama\.cpp"
    sha256 = write_index(index, **{"vendor/llama.cpp/conversion/base.py": ""})
    with pytest.raises(QuantmakeError, match=text):
        run_stage(Toolchain(sha256=sha256), {}, out)


def test_members_that_leave_the_folder_are_all_named(tmp_path: Path, out: Path) -> None:
    bad = ["vendor/llama.cpp/gguf-py/../../one", "vendor/llama.cpp/conversion/../../../two"]
    archive = tmp_path / "a.tar.gz"
    write_archive(archive, {**CONVERTER, **dict.fromkeys(bad, "evil")})
    with pytest.raises(QuantmakeError) as caught:
        unpack(archive, out)
    assert f"outside their folder: {TOP}/{bad[0]}, {TOP}/{bad[1]}." in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"a.tar.gz", "out"}
    assert not list(out.iterdir())


def test_the_pinned_converter(toolchain: Path) -> None:
    assert {path.name for path in toolchain.iterdir()} == {
        *("LICENSE", "conversion", "convert_hf_to_gguf.py", "gguf-py")
    }
