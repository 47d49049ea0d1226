"""Signatures of artefacts that others can check: OpenSSF's model signing over an artefact's files,
and its statement of provenance in a DSSE envelope.

The key is an elliptic one, as model-signing wants it: `openssl ecparam -name prime256v1 -genkey
-noout -out KEY.pem`, and `openssl ec -in KEY.pem -pubout -out PUBLIC.pem`. With a network,
`model_signing sign sigstore` signs by an identity in place of a key.
"""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.engine.store.manifest import COMPANIONS, Manifest, companion
from scripts.engine.store.signing import libraries
from scripts.errors import MachineError, QuantmakeError

SIGNATURE, STATEMENT, ENVELOPE = "model.sig", "provenance.intoto.json", "provenance.dsse.json"
_TYPE = "application/vnd.in-toto+json"


def sign(target: Path, key: Path) -> list[Path]:
    """Write `model.sig`, and `provenance.dsse.json` where there is a statement, beside the files of
    `target`; return what was written.

    Raises QuantmakeError for a key that can't sign, MachineError where the packages are missing.
    """
    signing = _module("signing")
    place = companion(target, SIGNATURE)
    try:
        config = signing.Config().use_elliptic_key_signer(private_key=key)
        config.set_hashing_config(_hashing(target)).sign(target, place)
    except (OSError, ValueError, TypeError) as error:
        raise QuantmakeError(
            f"{key} can't sign ({error}): it has to be a private key on an elliptic curve, as PEM. "
            "Make one: openssl ecparam -name prime256v1 -genkey -noout -out KEY.pem"
        ) from None
    written = [place]
    statement = companion(target, STATEMENT)
    if statement.is_file():
        serialization, signer = libraries()
        from securesystemslib.dsse import Envelope

        private = serialization.load_pem_private_key(key.read_bytes(), None)
        envelope = Envelope(statement.read_bytes(), _TYPE, {})
        envelope.sign(signer.CryptoSigner(private))
        written.append(companion(target, ENVELOPE))
        written[-1].write_text(json.dumps(envelope.to_dict(), indent=1, sort_keys=True) + "\n")
    return written


def faults_of_signatures(target: Path, manifest: Manifest, public: Path) -> Iterator[str]:
    """What is wrong with the signatures of a target; nothing where the key's owner vouches for it.

    Raises QuantmakeError for a public key that can't be read.
    """
    verifying = _module("verifying")
    place = companion(target, SIGNATURE)
    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=public)
    except (OSError, ValueError, TypeError) as error:
        raise QuantmakeError(f"{public} is no public key as PEM ({error})") from None
    if not place.is_file():
        yield f"{target}: is not signed ({place.name} is missing); sign it: doit sign --key KEY.pem"
        return
    try:
        config.set_hashing_config(_hashing(target)).verify(target, place)
    except Exception as error:  # the library raises many kinds
        yield f"{target}: its signature does not hold: {str(error).strip() or type(error).__name__}"
    envelope = companion(target, ENVELOPE)
    if envelope.is_file():
        yield from _faults_of_envelope(target, manifest, envelope, public)


def _faults_of_envelope(
    target: Path, manifest: Manifest, place: Path, public: Path
) -> Iterator[str]:
    serialization, signer = libraries()
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError

    key = signer.SSlibKey.from_crypto(serialization.load_pem_public_key(public.read_bytes()))
    try:
        envelope = Envelope.from_dict(json.loads(place.read_text()))
        envelope.verify([key], 1)
        subjects = json.loads(envelope.payload)["subject"]
    except (VerificationError, ValueError, KeyError, TypeError) as error:
        yield f"{place}: the statement's signature does not hold ({type(error).__name__})"
        return
    said = {one["digest"]["sha256"] for one in subjects}
    if said != {entry.sha256 for entry in manifest.files}:
        yield f"{place}: it speaks of other files than {target} has"


def _hashing(target: Path) -> Any:
    """Every file of the target by SHA-256; companions are pages about it."""
    hashing = _module("hashing").Config().use_file_serialization(hashing_algorithm="sha256")
    return hashing.set_ignored_paths(paths=sorted(COMPANIONS) if target.is_dir() else [])


def _module(name: str) -> Any:
    try:
        return importlib.import_module(f"model_signing.{name}")
    except ImportError as error:
        raise MachineError(
            f"signing artefacts needs the package model-signing ({error}); install it with "
            "python3.11 -m scripts.setup --extra sign"
        ) from None
