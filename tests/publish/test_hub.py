"""Publishing to the hub, by its own client, against a hub on loopback that fails in many ways."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _http

from scripts.errors import MachineError, QuantmakeError
from scripts.publish import hub as publishing
from scripts.publish.hub import HubRepository
from scripts.publish.package import Package
from tests.publish.hub_server import DROPPED, FIRST, TOKEN, Hub
from tests.publish.packages import FILES, contents, make_package
from tests.sources.loopback import serve

PLACE = HubRepository("org/toy", "main", False)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that the client takes for the real one, and a token that it accepts."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    # The stand-in speaks the storage's older protocol, LFS.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(publishing, "_PAUSES_S", (0.0, 0.0))
    monkeypatch.setattr(_http.time, "sleep", lambda _: None)
    made = Hub()
    with serve(made.handler()) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield made


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return make_package(tmp_path / "package")


def test_new_repository_is_private_and_has_one_commit(hub: Hub, package: Package) -> None:
    assert PLACE.missing(package) == package.files
    assert hub.wrote() == []
    assert PLACE.send(package).endswith("/org/toy")
    made = hub.repositories["org/toy"]
    assert made.private
    assert made.files() == {**FIRST, **contents(package)}
    assert len(made.commits) == 2


def test_unchanged_artefact_sends_nothing(hub: Hub, package: Package) -> None:
    PLACE.send(package)
    hub.asked.clear()
    assert PLACE.missing(package) is None
    PLACE.send(package)
    assert hub.wrote() == []
    assert len(hub.repositories["org/toy"].commits) == 2


def test_changed_file_goes_alone_and_what_is_gone_is_removed(
    hub: Hub, package: Package, tmp_path: Path
) -> None:
    PLACE.send(package)
    made = hub.repositories["org/toy"]
    made.commit("main", {**made.files(), "picture.png": b"put there by hand"})
    other = {name: data for name, data in FILES.items() if name != "onnx/model.onnx"}
    changed = make_package(tmp_path / "changed", {**other, "config.json": b'{"bits": 4}'})
    missing = PLACE.missing(changed)
    assert missing is not None
    assert [piece.name for piece in missing] == ["config.json", "SHA256SUMS"]
    hub.asked.clear()
    PLACE.send(changed)
    assert made.files() == {**FIRST, **contents(changed), "picture.png": b"put there by hand"}
    assert not any(line.startswith("PUT /storage") for line in hub.asked)


def test_interrupted_publication_goes_on(
    hub: Hub, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second large file breaks off for good: no revision shows the first, and it stays."""
    large = next(piece for piece in package.files if piece.name == "onnx/model.onnx")
    hub.faults[f"/storage/{large.sha256}"] = [DROPPED] * 100
    with pytest.raises(MachineError) as error:
        PLACE.send(package)
    assert "What was sent is kept: the same command goes on." in str(error.value)
    assert hub.repositories["org/toy"].files() == FIRST
    hub.faults.clear()
    hub.asked.clear()
    PLACE.send(package)
    assert hub.repositories["org/toy"].files() == {**FIRST, **contents(package)}
    sent = [line for line in hub.asked if line.startswith("PUT /storage")]
    assert sent == [f"PUT /storage/{large.sha256}"]


@pytest.mark.parametrize(
    "line",
    ["/preupload/", "/info/lfs/objects/batch", "/storage/", "/commit/", "/create", "/tree/"],
)
@pytest.mark.parametrize("fault", [500, DROPPED])
def test_hub_that_fails_for_a_moment(hub: Hub, package: Package, line: str, fault: int) -> None:
    hub.faults[line] = [fault]
    PLACE.send(package)
    made = hub.repositories["org/toy"]
    assert made.files() == {**FIRST, **contents(package)}
    assert len(made.commits) == 2


def test_commit_whose_answer_gets_lost_is_not_made_twice(hub: Hub, package: Package) -> None:
    hub.unsaid.append("/commit/")
    PLACE.send(package)
    assert len(hub.repositories["org/toy"].commits) == 2


def test_hub_that_stays_out_of_order(hub: Hub, package: Package) -> None:
    hub.faults["/preupload/"] = [503] * 20
    with pytest.raises(MachineError) as error:
        PLACE.send(package)
    assert str(error.value) == (
        "hf:org/toy: the hub answered 503; look at the network, the proxy and HF_ENDPOINT. What "
        "was sent is kept: the same command goes on."
    )


def test_branch_begins_without_what_others_have(hub: Hub, package: Package) -> None:
    PLACE.send(package)
    place = HubRepository("org/toy", "int8", False)
    assert place.missing(package) == package.files
    assert place.send(package).endswith("/org/toy/tree/int8")
    made = hub.repositories["org/toy"]
    assert made.files("int8") == {**FIRST, **contents(package)}
    assert made.branches["main"] != made.branches["int8"]
    assert place.missing(package) is None


def test_public_opens_once_all_is_there(hub: Hub, package: Package) -> None:
    hub.faults["/commit/"] = [500] * 20
    place = HubRepository("org/toy", "main", True)
    with pytest.raises(MachineError):
        place.send(package)
    assert hub.repositories["org/toy"].private
    hub.faults.clear()
    PLACE.send(package)
    assert place.missing(package) == ()
    place.send(package)
    assert not hub.repositories["org/toy"].private
    assert place.missing(package) is None


def test_commit_of_somebody_else_is_not_overwritten(hub: Hub, package: Package) -> None:
    hub.faults["/commit/"] = [412]
    with pytest.raises(QuantmakeError, match=r"somebody else committed there meanwhile \(412\)"):
        PLACE.send(package)


def test_no_token(hub: Hub, package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(MachineError) as error:
        PLACE.missing(package)
    assert str(error.value) == (
        "hf:org/toy: there is no token of the hub: put one that may write into HF_TOKEN, or run "
        "`.venv/bin/hf auth login`"
    )
    assert hub.asked == []


def test_wrong_token_is_told_but_not_shown(
    hub: Hub, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "revokedtoken")
    with pytest.raises(QuantmakeError) as error:
        PLACE.send(package)
    assert str(error.value) == (
        "hf:org/toy: the hub does not accept the token (401): it is none, or it was revoked. Put "
        "one that may write into HF_TOKEN."
    )


def test_token_that_may_not_write(hub: Hub, package: Package) -> None:
    hub.reads_only = True
    with pytest.raises(QuantmakeError) as error:
        PLACE.send(package)
    assert str(error.value) == (
        "hf:org/toy: the token may not write there (403): take one with the right to write to the "
        "repositories of org, in HF_TOKEN"
    )


def test_no_network(hub: Hub, package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(MachineError) as error:
        PLACE.send(package)
    assert str(error.value).startswith("hf:org/toy: the hub can't be reached (ConnectError: ")
    assert TOKEN not in str(error.value)


def test_file_that_changes_meanwhile_does_not_go(hub: Hub, package: Package) -> None:
    package.files[2].path.write_bytes(b"other")
    with pytest.raises(QuantmakeError, match="was changed while it was sent; run doit, then again"):
        PLACE.send(package)
    assert hub.repositories["org/toy"].files() == FIRST
