"""Records of a shared store, signed by who built: a DSSE envelope around an action's key and its
manifest (https://github.com/secure-systems-lab/dsse).

Where `store_keys` in [tool.quantmake] names public keys, a record counts only with a signature by
one of them. The private key is in QUANTMAKE_SIGNING_KEY, as PEM or as the path of a PEM file:
`openssl genpkey -algorithm ed25519`.
"""

import base64
import importlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scripts.engine.store.manifest import Manifest
from scripts.errors import MachineError, RecipeError

SIGNING_VARIABLE = "QUANTMAKE_SIGNING_KEY"
_TYPE = "application/vnd.quantmake.record+json"
_PUBLIC = "the line between BEGIN and END of `openssl pkey -in KEY.pem -pubout`"


class NotTrusted(Exception):
    """A record without a signature by a key that is trusted."""


def pack(key: str, manifest: Manifest, *, trusted: tuple[str, ...]) -> bytes:
    """A record as it is stored; signed where there is a private key.

    Raises NotTrusted where records have to be signed and there is none.
    """
    private = os.environ.get(SIGNING_VARIABLE)
    if not private:
        if trusted:
            raise NotTrusted(
                "records have to be signed, by `store_keys` in [tool.quantmake], and "
                f"{SIGNING_VARIABLE} is not set"
            )
        return manifest.to_json().encode()
    from securesystemslib.dsse import Envelope

    payload = json.dumps({"key": key, "manifest": asdict(manifest)}, sort_keys=True).encode()
    envelope = Envelope(payload, _TYPE, {})
    envelope.sign(_signer(private))
    return json.dumps(envelope.to_dict(), indent=1, sort_keys=True).encode()


def unpack(key: str, data: bytes, *, trusted: tuple[str, ...]) -> Manifest:
    """The manifest of a stored record of the action `key`.

    Raises NotTrusted where keys are trusted and none of them signed it, or where it was signed for
    another action; ValueError, KeyError or TypeError where it is no record.
    """
    record: Any = json.loads(data)
    if "payload" not in record:
        if trusted:
            raise NotTrusted(f"its record of {key[:12]}… is not signed")
        return Manifest.from_json(data)
    if trusted:
        _verify(key, record, trusted)
    said = json.loads(base64.b64decode(record["payload"], validate=True))
    if record["payloadType"] != _TYPE or said["key"] != key:
        raise NotTrusted(f"its record of {key[:12]}… was signed for something else")
    return Manifest.from_json(json.dumps(said["manifest"]))


def _verify(key: str, record: Any, trusted: tuple[str, ...]) -> None:
    keys: list[Any] = [_public(one) for one in trusted]
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError

    try:
        # A copy: the library changes what it is given.
        Envelope.from_dict(json.loads(json.dumps(record))).verify(keys, 1)
    except VerificationError:
        raise NotTrusted(
            f"its record of {key[:12]}… is signed by no key of `store_keys` in [tool.quantmake]"
        ) from None


def _signer(private: str) -> Any:
    serialization, signer = libraries()
    try:
        pem = private if "-----BEGIN" in private else Path(private).expanduser().read_text()
        return signer.CryptoSigner(serialization.load_pem_private_key(pem.encode(), None))
    except (OSError, ValueError, TypeError) as error:
        raise MachineError(
            f"{SIGNING_VARIABLE} holds no private key as PEM, nor the path of one "
            f"({type(error).__name__}). Make one: openssl genpkey -algorithm ed25519 -out KEY.pem"
        ) from None


def _public(text: str) -> Any:
    serialization, signer = libraries()
    try:
        der = base64.b64decode(text, validate=True)
        return signer.SSlibKey.from_crypto(serialization.load_der_public_key(der))
    except (ValueError, TypeError):
        raise RecipeError(
            f"`store_keys` in [tool.quantmake] of pyproject.toml: {text!r} is no public key; it is "
            f"{_PUBLIC}"
        ) from None


def libraries() -> tuple[Any, Any]:
    """cryptography's serialization and securesystemslib's signer."""
    try:
        serialization = importlib.import_module("cryptography.hazmat.primitives.serialization")
        return serialization, importlib.import_module("securesystemslib.signer")
    except ImportError as error:
        raise MachineError(
            f"signed records need the packages cryptography and securesystemslib ({error}); "
            "install them with python3.11 -m scripts.setup --extra sign"
        ) from None
