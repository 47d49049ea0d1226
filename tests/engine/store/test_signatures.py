"""Artefacts signed with a key, checked by us and by model-signing itself."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.project import Project, make_project

pytest.importorskip("model_signing")


def make_keys(folder: Path, name: str) -> tuple[Path, Path]:
    """A private and a public key."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return private, public


@pytest.fixture
def signed(tmp_path: Path) -> tuple[Project, Path]:
    """A project whose artefact is signed, and the public key."""
    project = make_project(tmp_path / "project")
    assert project.doit().returncode == 0
    private, public = make_keys(tmp_path, "ours")
    done = project.doit("sign", "--key", str(private))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✓ joined  (joined.txt.model.sig)" in done.stdout
    return project, public


def test_whoever_has_the_public_key_can_check(signed: tuple[Project, Path], tmp_path: Path) -> None:
    project, public = signed
    done = project.doit("verify", "--signed", str(public))
    assert done.returncode == 0, done.stdout + done.stderr
    assert project.doit().stdout.startswith("Nothing to do")  # a signature is no part of a target
    _, other = make_keys(tmp_path, "other")
    done = project.doit("verify", "--signed", str(other))
    assert done.returncode == 1
    assert "out/joined.txt: its signature does not hold" in done.stdout


def test_model_signing_itself_agrees(signed: tuple[Project, Path]) -> None:
    project, public = signed
    out = project.folder / "out"
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(out / "joined.txt")]
    command += ["--signature", str(out / "joined.txt.model.sig"), "--public_key", str(public)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_other_bytes_are_seen(signed: tuple[Project, Path]) -> None:
    project, public = signed
    (project.folder / "out/joined.txt").write_text("HELLO WORLD")
    done = project.doit("verify", "--signed", str(public))
    assert done.returncode == 1
    assert "out/joined.txt: its signature does not hold" in done.stdout


def test_what_is_not_signed(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    assert project.doit().returncode == 0
    _, public = make_keys(tmp_path, "ours")
    done = project.doit("verify", "--signed", str(public))
    assert done.returncode == 1
    assert "out/joined.txt: is not signed (joined.txt.model.sig is missing)" in done.stdout


def test_statement_in_an_envelope(signed: tuple[Project, Path], tmp_path: Path) -> None:
    project, public = signed
    out = project.folder / "out"
    digest = (out / "SHA256SUMS").read_text().split()[0]
    statement = '{"subject": [{"name": "joined.txt", "digest": {"sha256": "%s"}}]}'
    (out / "joined.txt.provenance.intoto.json").write_text(statement % digest)
    private = tmp_path / "ours.pem"
    assert "provenance.dsse.json" in project.doit("sign", "--key", str(private)).stdout
    assert project.doit("verify", "--signed", str(public)).returncode == 0
    (out / "joined.txt.provenance.intoto.json").write_text(statement % ("0" * 64))
    project.doit("sign", "--key", str(private))
    done = project.doit("verify", "--signed", str(public))
    assert "it speaks of other files than out/joined.txt has" in done.stdout
    envelope = out / "joined.txt.provenance.dsse.json"
    envelope.write_text(envelope.read_text().replace('"payload": "', '"payload": "AAAA'))
    done = project.doit("verify", "--signed", str(public))
    assert "the statement's signature does not hold" in done.stdout


def test_mistakes(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    done = project.doit("sign")
    assert done.returncode == 2
    assert "doit sign needs --key KEY.pem" in done.stderr
    private, _ = make_keys(tmp_path, "ours")
    assert (
        "✗ joined: it is not built; run doit first"
        in project.doit("sign", "--key", str(private)).stdout
    )
    assert project.doit().returncode == 0
    (tmp_path / "bad.pem").write_text("no key")
    done = project.doit("sign", "--key", str(tmp_path / "bad.pem"))
    assert done.returncode == 1
    assert "can't sign" in done.stderr
    done = project.doit("verify", "--signed", str(tmp_path / "bad.pem"))
    assert done.returncode == 1
    assert "is no public key as PEM" in done.stderr
