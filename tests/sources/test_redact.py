"""Secrets stay out of error texts."""

import pytest

from scripts.sources.redact import redact


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://user:pa55@host/a.gguf", "https://host/a.gguf"),
        ("see s3://k:s@b/a and ftp://u@h/b", "see s3://b/a and ftp://h/b"),
        ("https://h/a?sig=abc&x=1 failed", "https://h/a failed"),
        ("Max retries exceeded with url: /a/b?sig=abc (Caused by x)", None),
        ("Authorization: Bearer abcdef", "Authorization: Bearer ***"),
        ("token hf_abcdefghijkl is bad", "token *** is bad"),
    ],
)
def test_urls_and_tokens_lose_their_secrets(text: str, clean: str | None) -> None:
    expected = clean or "Max retries exceeded with url: /a/b (Caused by x)"
    assert redact(text) == expected


def test_the_hubs_token_is_masked_whatever_its_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "plainword")
    assert redact("login plainword failed") == "login *** failed"


def test_secrets_of_a_url_are_masked_by_themselves() -> None:
    said = redact(
        "user bob: bad password p@ss; key=k%2F123456", "ftp://bob:p%40ss@h/a?key=k%2F123456"
    )
    assert "p@ss" not in said
    assert "k%2F123456" not in said
