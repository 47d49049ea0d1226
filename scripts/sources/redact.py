"""Error texts without secrets: no credentials of URLs, no signed queries, no hub token."""

import os
import re
from urllib.parse import unquote, urlsplit

IN_NO_KEY = "it is about texts of errors"

_USER = re.compile(r"(?<=://)[^/\s@'\"]+@")
_QUERY = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*://[^\s?'\"<>]*)\?[^\s'\"<>]*")
_PATH_QUERY = re.compile(r"((?:^|\s)/[^\s?'\"<>]*)\?[^\s'\"<>)]*")
_BEARER = re.compile(r"\bhf_[A-Za-z0-9]{8,}|(?<=Bearer )\S+")
_TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_SECRET_KEY = re.compile(r"sig|token|secret|password|credential|(api|access)-?key", re.IGNORECASE)


def carries_secret(url: str) -> bool:
    """Whether a URL holds a password, or a query with a signature, a token or a key."""
    parts = urlsplit(url)
    keys = [pair.partition("=")[0] for pair in parts.query.split("&")]
    user = parts.netloc.rpartition("@")[0]
    return ":" in user or any(_SECRET_KEY.search(key) for key in keys)


def redact(text: str, url: str = "") -> str:
    """`text` with user names, passwords and queries of URLs and the hub's tokens left out.

    The credentials and the query of `url` are left out wherever they stand, also by themselves.
    """
    text = _USER.sub("", text)
    text = _QUERY.sub(r"\1", text)
    text = _PATH_QUERY.sub(r"\1", text)
    text = _BEARER.sub("***", text)
    secrets = [os.environ.get(variable, "").strip() for variable in _TOKEN_VARIABLES]
    for secret in sorted([*secrets, *_secrets_of(url)], key=len, reverse=True):
        if secret:
            text = text.replace(secret, "***")
    return text


def _secrets_of(url: str) -> list[str]:
    parts = urlsplit(url)
    values = [pair.partition("=")[2] for pair in parts.query.split("&")]
    raw = [parts.password or "", parts.query, *(value for value in values if len(value) > 5)]
    return [*raw, *map(unquote, raw)]
