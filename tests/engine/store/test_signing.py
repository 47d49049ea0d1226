"""Records of a shared store that count only where somebody signed them who is trusted."""

import base64
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.engine.build import kept
from scripts.engine.store.local import StoreError
from scripts.engine.store.manifest import Manifest, make_manifest
from scripts.engine.store.remote import RemoteStore, UntrustedRecord
from scripts.engine.store.signing import SIGNING_VARIABLE, NotTrusted, pack, unpack
from scripts.environment import stage_environment
from scripts.errors import MachineError, RecipeError
from tests.engine.project import Project, make_project

serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
KEY = "a" * 64


@dataclass(frozen=True)
class Pair:
    """A private key as PEM, and the public one as [tool.quantmake] has it."""

    private: str
    public: str


def make_pair() -> Pair:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    der = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return Pair(pem.decode(), base64.b64encode(der).decode())


OURS, THEIRS, NOBODYS = make_pair(), make_pair(), make_pair()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    file = tmp_path / "target.bin"
    file.write_bytes(b"a" * 1000)
    return file


@pytest.fixture
def manifest(target: Path) -> Manifest:
    return make_manifest(target)


def sign(monkeypatch: pytest.MonkeyPatch, pair: Pair) -> None:
    monkeypatch.setenv(SIGNING_VARIABLE, pair.private)


def test_signed_by_one_of_two_keys(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    sign(monkeypatch, THEIRS)
    record = pack(KEY, manifest, trusted=())
    assert unpack(KEY, record, trusted=(OURS.public, THEIRS.public)) == manifest
    assert unpack(KEY, record, trusted=()) == manifest
    with pytest.raises(NotTrusted, match=r"its record of aaaaaaaaaaaa… is signed by no key of"):
        unpack(KEY, record, trusted=(OURS.public, NOBODYS.public))


def test_unsigned(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SIGNING_VARIABLE, raising=False)
    record = pack(KEY, manifest, trusted=())
    assert record.decode() == manifest.to_json()
    with pytest.raises(NotTrusted, match=r"its record of aaaaaaaaaaaa… is not signed"):
        unpack(KEY, record, trusted=(OURS.public,))
    with pytest.raises(NotTrusted, match="records have to be signed, by `store_keys` in"):
        pack(KEY, manifest, trusted=(OURS.public,))


def test_poisoned(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another manifest under a signature, a record of another action, two signatures of one."""
    sign(monkeypatch, OURS)
    record = json.loads(pack(KEY, manifest, trusted=(OURS.public,)))
    said = json.loads(base64.b64decode(record["payload"]))
    said["manifest"]["files"][0]["sha256"] = "0" * 64
    other = {**record, "payload": base64.b64encode(json.dumps(said).encode()).decode()}
    with pytest.raises(NotTrusted, match="is signed by no key"):
        unpack(KEY, json.dumps(other).encode(), trusted=(OURS.public,))
    with pytest.raises(NotTrusted, match=r"its record of bbbbbbbbbbbb… was signed for something"):
        unpack("b" * 64, json.dumps(record).encode(), trusted=(OURS.public,))


def test_key_in_a_file(manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key.pem").write_text(OURS.private)
    monkeypatch.setenv(SIGNING_VARIABLE, str(tmp_path / "key.pem"))
    record = pack(KEY, manifest, trusted=(OURS.public,))
    assert unpack(KEY, record, trusted=(OURS.public,)) == manifest
    monkeypatch.setenv(SIGNING_VARIABLE, str(tmp_path / "none.pem"))
    with pytest.raises(MachineError, match=r"holds no private key as PEM, nor the path of one \(F"):
        pack(KEY, manifest, trusted=(OURS.public,))


def test_public_key_that_is_none(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    sign(monkeypatch, OURS)
    record = pack(KEY, manifest, trusted=())
    with pytest.raises(RecipeError, match=r"`store_keys` in .*: 'abc' is no public key; it is the"):
        unpack(KEY, record, trusted=("abc",))


def test_packages_that_are_missing(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    sign(monkeypatch, OURS)
    record = pack(KEY, manifest, trusted=())
    monkeypatch.setitem(sys.modules, "securesystemslib.signer", None)
    with pytest.raises(MachineError, match="signed records need the packages cryptography and"):
        unpack(KEY, record, trusted=(OURS.public,))


def test_two_stores(target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One asks for signatures, the other does not."""
    sign(monkeypatch, OURS)
    manifest = make_manifest(target)
    strict = RemoteStore(str(tmp_path / "strict"), trusted=(OURS.public,))
    free = RemoteStore(str(tmp_path / "free"))
    for store in (strict, free):
        store.put_blobs(manifest, target)
        store.put_record(KEY, manifest)
        assert store.manifest(KEY) == manifest
    monkeypatch.delenv(SIGNING_VARIABLE)
    with pytest.raises(StoreError, match="records have to be signed"):
        strict.put_record("b" * 64, manifest)
    free.put_record("b" * 64, manifest)
    shutil.copy(tmp_path / "free/ac" / ("b" * 64), tmp_path / "strict/ac" / ("b" * 64))
    with pytest.raises(UntrustedRecord, match="is not signed"):
        strict.manifest("b" * 64)


def test_stages_do_not_learn_the_key() -> None:
    caller = {SIGNING_VARIABLE: OURS.private, "QUANTMAKE_STORE": "s3://x"}
    assert SIGNING_VARIABLE not in stage_environment(caller, canonical=True)
    assert stage_environment(caller, canonical=True)["QUANTMAKE_STORE"] == "s3://x"


def trusting(project: Project, *keys: str) -> Project:
    """The project with `store_keys`."""
    path = project.folder / "pyproject.toml"
    text, section = path.read_text(), "[tool.quantmake]"
    path.write_text(text.replace(section, f"{section}\nstore_keys = {json.dumps(keys)}"))
    return project


def test_builds_take_signed_records_alone(tmp_path: Path) -> None:
    """From push to pull, by doit; an unsigned record is a warning and a build."""
    shared = {"QUANTMAKE_STORE": str(tmp_path / "shared")}
    ours = {**shared, SIGNING_VARIABLE: OURS.private}
    built = make_project(tmp_path / "built")
    assert built.doit().returncode == 0
    assert built.doit("push", **shared).returncode == 0  # by somebody, without a signature
    other = trusting(make_project(tmp_path / "other"), OURS.public, THEIRS.public)
    done = other.doit(**shared)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is not signed. Going on without it." in done.stdout + done.stderr
    assert other.ran() == ["words", "words", "joined"]
    done = other.doit("push", **shared)
    assert done.returncode == 3
    assert "records have to be signed, by `store_keys` in [tool.quantmake]" in done.stdout
    done = other.doit("push", **ours)  # it puts its own in the place of those
    assert done.returncode == 0, done.stdout + done.stderr
    third = trusting(make_project(tmp_path / "third"), OURS.public)
    shutil.copy(other.folder / "toy.lock", third.folder)
    done = third.doit("pull", **shared)
    assert done.returncode == 0, done.stdout + done.stderr
    assert third.doit(**shared).returncode == 0
    assert third.ran() == []
    apart = trusting(make_project(tmp_path / "apart"), NOBODYS.public)
    assert apart.doit(**shared).returncode == 0
    assert apart.ran() == ["words", "words", "joined"]


def test_stores_of_a_build_ask_for_the_keys(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(kept, "store_keys", lambda: (OURS.public,))
    (tmp_path / "ac").mkdir()
    (tmp_path / "ac" / KEY).write_text(Manifest("folder", ()).to_json())
    with pytest.raises(UntrustedRecord):
        kept.shared_store(str(tmp_path)).manifest(KEY)
