"""Secrets of the environment never reach a log: they are masked on their way there."""

import os
import re
from collections.abc import Mapping
from functools import lru_cache

_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|_PAT$"
    r"|(API|ACCESS|STORAGE|ACCOUNT|PRIVATE|SIGNING|SAS)_?KEY",
    re.I,
)
_NOT_SECRET = re.compile(r"PARALLELISM|_FILE$|_PATH$|_ID$", re.I)
# Up to the last @ of the host's part: a password may hold slashes and @.
_IN_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^\s/@:]+:[^\s'\"]+@(?=[\w.\[-])")
_SIGNED = re.compile(r"(?P<name>[?&](?:sig|signature|X-Amz-Signature|token|key)=)[^&\s'\"]+", re.I)
_SHORTEST = 6


@lru_cache(maxsize=1)
def _pattern(values: tuple[str, ...]) -> re.Pattern[str] | None:
    return re.compile("|".join(re.escape(value) for value in values)) if values else None


def mask(text: str, environment: Mapping[str, str] | None = None) -> str:
    """`text` without the values of secret variables, and passwords and signatures in URLs."""
    found = os.environ if environment is None else environment
    values = {
        value
        for name, value in found.items()
        if _SECRET_NAME.search(name) and not _NOT_SECRET.search(name) and len(value) >= _SHORTEST
    }
    pattern = _pattern(tuple(sorted(values, key=len, reverse=True)))
    if pattern is not None:
        text = pattern.sub("***", text)
    return _SIGNED.sub(r"\g<name>***", _IN_URL.sub(r"\g<scheme>***@", text))
