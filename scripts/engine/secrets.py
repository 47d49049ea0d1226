"""Secrets of the environment never reach a log: they are masked on their way there."""

import os
import re
from collections.abc import Mapping
from functools import lru_cache

_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_KEY", re.I)
_NOT_SECRET = re.compile(r"PARALLELISM|_FILE$|_PATH$|_ID$", re.I)
_IN_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^\s/@:]+:[^\s/@]+@")
_SHORTEST = 6


@lru_cache(maxsize=1)
def _pattern(values: tuple[str, ...]) -> re.Pattern[str] | None:
    return re.compile("|".join(re.escape(value) for value in values)) if values else None


def mask(text: str, environment: Mapping[str, str] | None = None) -> str:
    """`text` without the values of secret variables and without passwords inside URLs."""
    found = os.environ if environment is None else environment
    values = {
        value
        for name, value in found.items()
        if _SECRET_NAME.search(name) and not _NOT_SECRET.search(name) and len(value) >= _SHORTEST
    }
    pattern = _pattern(tuple(sorted(values, key=len, reverse=True)))
    if pattern is not None:
        text = pattern.sub("***", text)
    return _IN_URL.sub(r"\g<scheme>***@", text)
