"""Publishing to an OCI registry on loopback, by oras."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.errors import MachineError, QuantmakeError
from scripts.publish.package import Package
from scripts.publish.registry import RegistryTag
from tests.publish.packages import FILES, contents, make_package
from tests.publish.registry_server import DROPPED, PASSWORD, SOUND, OciRegistry, basic
from tests.sources.loopback import serve

pytest.importorskip("oras")
NAME = "models/toy:int8"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[OciRegistry]:
    """A registry; nobody is logged in to it, and nothing waits."""
    from scripts.publish import registry_client

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(registry_client, "_PAUSES_S", (0.0, 0.0))
    made = OciRegistry()
    with serve(made.handler()) as address:
        made.host = address.removeprefix("http://")
        yield made


@pytest.fixture
def place(registry: OciRegistry) -> RegistryTag:
    return RegistryTag(registry.host, "models/toy", "int8")


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return make_package(tmp_path / "package")


def log_in(folder: Path, place: RegistryTag) -> None:
    """As `docker login` leaves it."""
    config = folder / "home/.docker/config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"auths": {place.registry: {"auth": basic()}}}))


def test_files_come_out_as_they_were(
    registry: OciRegistry, place: RegistryTag, package: Package
) -> None:
    assert place.missing(package) == package.files
    assert registry.wrote() == []
    assert place.send(package) == f"{place.registry}/models/toy:int8"
    assert registry.pulled(NAME) == contents(package)
    manifest = json.loads(registry.manifests[NAME])
    assert manifest["artifactType"] == "application/vnd.quantmake.artifact.v1"
    assert manifest["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
    assert registry.asked[-1].startswith("PUT /v2/models/toy/manifests/int8")


def test_oras_itself_pulls_them(
    registry: OciRegistry, place: RegistryTag, package: Package, tmp_path: Path
) -> None:
    from oras.client import OrasClient

    place.send(package)
    OrasClient(insecure=True).pull(f"{place.registry}/{NAME}", outdir=str(tmp_path / "pulled"))
    for name, data in contents(package).items():
        assert (tmp_path / "pulled" / name).read_bytes() == data


def test_unchanged_artefact_sends_nothing(
    registry: OciRegistry, place: RegistryTag, package: Package
) -> None:
    place.send(package)
    registry.asked.clear()
    assert place.missing(package) is None
    assert registry.wrote() == []


def test_changed_file_goes_alone(
    registry: OciRegistry, place: RegistryTag, package: Package, tmp_path: Path
) -> None:
    place.send(package)
    changed = make_package(tmp_path / "changed", {**FILES, "config.json": b'{"bits": 4}'})
    missing = place.missing(changed)
    assert missing is not None
    assert [piece.name for piece in missing] == ["config.json", "SHA256SUMS"]
    registry.asked.clear()
    place.send(changed)
    assert len([line for line in registry.wrote() if "/uploads/session" in line]) == 2
    assert registry.pulled(NAME) == contents(changed)


@pytest.mark.parametrize("login", ["basic", "token"])
def test_login_of_docker_counts(
    login: str, registry: OciRegistry, place: RegistryTag, package: Package, tmp_path: Path
) -> None:
    registry.login = login
    with pytest.raises(QuantmakeError) as error:
        place.missing(package)
    assert str(error.value) == (
        f"{place}: the registry does not know who you are (401): run `docker login "
        f"{place.registry}` or `oras login {place.registry}`"
    )
    log_in(tmp_path, place)
    assert place.missing(package) == package.files
    place.send(package)
    assert registry.pulled(NAME) == contents(package)


def test_account_that_may_not_write(
    registry: OciRegistry, place: RegistryTag, package: Package, tmp_path: Path
) -> None:
    registry.login, registry.forbids = "token", True
    log_in(tmp_path, place)
    with pytest.raises(QuantmakeError) as error:
        place.send(package)
    assert str(error.value) == (
        f"{place}: the registry does not let you write there (403): look at the name, and at the "
        f"rights of the account that you logged in to {place.registry} with"
    )
    assert PASSWORD not in str(error.value)


@pytest.mark.parametrize("line", ["/blobs/uploads/", "/uploads/session", "/manifests/", "/v2/"])
@pytest.mark.parametrize("fault", [503, DROPPED])
def test_registry_that_fails_for_a_moment(
    line: str, fault: int, registry: OciRegistry, place: RegistryTag, package: Package
) -> None:
    registry.faults[line] = [SOUND, fault] if line == "/v2/" else [fault]
    place.send(package)
    assert registry.pulled(NAME) == contents(package)


def test_interrupted_publication_goes_on(
    registry: OciRegistry, place: RegistryTag, package: Package
) -> None:
    """The third upload breaks off for good: there is no tag, and the first two stay."""
    registry.faults["/uploads/session"] = [SOUND, SOUND, *[DROPPED] * 20]
    with pytest.raises(MachineError) as error:
        place.send(package)
    assert "What was sent is kept: the same command goes on." in str(error.value)
    assert registry.manifests == {}
    assert len(registry.blobs) == 2
    registry.faults.clear()
    registry.asked.clear()
    place.send(package)
    assert registry.pulled(NAME) == contents(package)
    # The empty config has the bytes of config.json.
    assert len([line for line in registry.wrote() if "/uploads/session" in line]) == 3


def test_file_that_changes_meanwhile_does_not_go(
    registry: OciRegistry, place: RegistryTag, package: Package
) -> None:
    piece = package.files[2]
    piece.path.write_bytes(b"#" * piece.size)
    with pytest.raises(QuantmakeError, match=r"the registry refused it \(400: other bytes\)"):
        place.send(package)
    assert registry.manifests == {}


def test_registry_out_of_reach_is_the_machines_fault(package: Package) -> None:
    with pytest.raises(MachineError) as error:
        RegistryTag("127.0.0.1:1", "toy", "x").missing(package)
    assert str(error.value).startswith(
        "oci:127.0.0.1:1/toy:x: the registry can't be reached (ConnectionError: "
    )


def test_oras_that_is_missing_is_named(
    place: RegistryTag, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "scripts.publish.registry_client", raising=False)
    monkeypatch.setitem(sys.modules, "oras.container", None)
    with pytest.raises(MachineError) as error:
        place.missing(package)
    assert "publishing to a registry needs the package oras" in str(error.value)
    assert "install it with python3.11 -m scripts.setup --extra publish" in str(error.value)
