"""`hf:` sources, with the real client against a hub on loopback."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from huggingface_hub import constants

from scripts.errors import MachineError, QuantmakeError, RecipeError
from scripts.sources.hub import fetch
from tests.sources.hub_server import COMMIT, Hub
from tests.sources.loopback import serve

FILES = {
    "README.md": b"# toy",
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": b"weights" * 100,
    "modeling.py": b"print(1)",
    "pytorch_model.bin": b"pickle",
    "tokenizer.json": b"{}",
}
SOURCE = f"hf:org/toy@{COMMIT}"
Start = Callable[..., Hub]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start a hub that the client takes for the real one; its cache is empty."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    (tmp_path / "out").mkdir()
    with ExitStack() as stack:

        def begin(files: dict[str, bytes] | None = None, **options: object) -> Hub:
            hub = Hub(dict(FILES if files is None else files), **options)  # type: ignore[arg-type]
            address = stack.enter_context(serve(hub.handler()))
            monkeypatch.setattr(constants, "ENDPOINT", address)
            template = address + "/{repo_id}/resolve/{revision}/{filename}"
            monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
            return hub

        yield begin


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_only_the_needed_files_are_downloaded(start: Start, tmp_path: Path) -> None:
    hub = start()
    fetch(SOURCE, tmp_path / "out", False)
    assert names(tmp_path / "out") == ["config.json", "model.safetensors", "tokenizer.json"]
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert not any("pytorch_model.bin" in line or ".py" in line for line in hub.asked)


def test_one_file_may_be_named(start: Start, tmp_path: Path) -> None:
    start({"a.gguf": b"GGUF", "b.gguf": b"other"})
    fetch(f"{SOURCE}/a.gguf", tmp_path / "out", False)
    assert names(tmp_path / "out") == ["a.gguf"]


def test_a_file_that_is_not_there_lists_those_that_are(start: Start, tmp_path: Path) -> None:
    start({"a.gguf": b"GGUF", "b.gguf": b"other"})
    with pytest.raises(QuantmakeError) as error:
        fetch(f"{SOURCE}/c.gguf", tmp_path / "out", False)
    assert str(error.value) == (
        "hf:org/toy has no file 'c.gguf' at 0123456789ab; it has a.gguf, b.gguf"
    )


def test_a_token_opens_a_private_repository(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(token="hf_opensesame1")
    monkeypatch.setenv("HF_TOKEN", "hf_opensesame1")
    fetch(SOURCE, tmp_path / "out", False)
    assert "config.json" in names(tmp_path / "out")


def test_a_wrong_token_is_told_but_not_shown(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(token="hf_opensesame1")
    monkeypatch.setenv("HF_TOKEN", "hf_wrongtoken9")
    with pytest.raises(QuantmakeError) as error:
        fetch(SOURCE, tmp_path / "out", False)
    assert str(error.value) == (
        f"{SOURCE}: the hub knows no such repository, or it is private and HF_TOKEN holds no "
        "token that may read it"
    )


def test_a_gated_repository_says_what_to_do(start: Start, tmp_path: Path) -> None:
    start(gated=True)
    with pytest.raises(QuantmakeError) as error:
        fetch(SOURCE, tmp_path / "out", False)
    assert str(error.value) == (
        f"{SOURCE} is gated: accept its terms on its page, and put a token of that account into "
        "HF_TOKEN"
    )


def test_a_branch_is_refused_with_the_commit_it_is_at(start: Start, tmp_path: Path) -> None:
    start()
    with pytest.raises(RecipeError) as error:
        fetch("hf:org/toy@main/a.gguf", tmp_path / "out", False)
    assert str(error.value) == (
        "hf:org/toy is at 'main', which may move; it is now at this commit: "
        f"hf:org/toy@{COMMIT}/a.gguf"
    )


def test_a_branch_is_refused_also_where_the_hub_can_not_be_asked(
    start: Start, tmp_path: Path
) -> None:
    start()
    with pytest.raises(RecipeError) as error:
        fetch("hf:org/toy@no-such-tag", tmp_path / "out", False)
    assert str(error.value) == (
        "hf:org/toy is at 'no-such-tag', which may move; write the full commit, 40 hexadecimal "
        "digits, as the page of the repository shows it: hf:org/toy@COMMIT"
    )


def test_an_unknown_commit_is_told(start: Start, tmp_path: Path) -> None:
    start()
    with pytest.raises(QuantmakeError) as error:
        fetch("hf:org/toy@" + "f" * 40, tmp_path / "out", False)
    assert str(error.value) == f"hf:org/toy@{'f' * 40}: the repository has no such commit"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_that_is_not_what_the_hub_lists_is_refused(
    name: str, start: Start, tmp_path: Path
) -> None:
    hub = start()
    hub.tampered[name] = b"#" * len(FILES[name])
    with pytest.raises(QuantmakeError) as error:
        fetch(SOURCE, tmp_path / "out", False)
    said = str(error.value)
    assert said.startswith(f"hf:org/toy: {name} is not what the hub lists: it lists the digest ")
    assert f"but the file ({len(FILES[name])} bytes) has " in said


def test_a_repository_of_pickles_is_refused_before_any_download(
    start: Start, tmp_path: Path
) -> None:
    hub = start({"config.json": b"{}", "pytorch_model.bin": b"x"})
    with pytest.raises(QuantmakeError, match="hf:org/toy has its weights in pickles only"):
        fetch(SOURCE, tmp_path / "out", False)
    assert not any("/resolve/" in line for line in hub.asked)


def test_offline_the_cache_serves_and_is_checked(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = start()
    fetch(SOURCE, tmp_path / "out", False)
    hub.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (tmp_path / "second").mkdir()
    fetch(SOURCE, tmp_path / "second", False)
    assert names(tmp_path / "second") == names(tmp_path / "out")
    assert hub.asked == []
    blob = next((tmp_path / "cache").rglob("snapshots/*/config.json")).resolve()
    blob.write_bytes(b"tampered")
    (tmp_path / "third").mkdir()
    with pytest.raises(QuantmakeError, match=r"config\.json is not what the hub lists"):
        fetch(SOURCE, tmp_path / "third", False)


def test_offline_without_a_cache_is_the_machines_fault(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(MachineError) as error:
        fetch(SOURCE, tmp_path / "out", False)
    assert str(error.value) == (
        f"{SOURCE} is not in the hub's cache, and HF_HUB_OFFLINE=1 forbids to download it; unset "
        "the variable, or download it first"
    )


def test_a_hub_out_of_reach_is_the_machines_fault(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(MachineError) as error:
        fetch(SOURCE, tmp_path / "out", False)
    assert str(error.value).startswith(f"{SOURCE}: the hub can't be reached (ConnectError: ")
