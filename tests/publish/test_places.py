"""How a destination is spelt."""

import pytest

from scripts.errors import RecipeError
from scripts.publish.places import SPELLINGS, places


def told(text: str, *artifacts: str) -> list[str]:
    """Where the artefacts go."""
    return [str(place) for place in places(text, artifacts or ("a",), public=False).values()]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("hf:org/tiny", "hf:org/tiny"),
        ("hf:org/tiny@int8", "hf:org/tiny@int8"),
        ("hf:org/tiny-{artifact}", "hf:org/tiny-a"),
        ("oci:ghcr.io/org/tiny", "oci:ghcr.io/org/tiny:a"),
        ("oci:localhost:5000/tiny:v1", "oci:localhost:5000/tiny:v1"),
        ("out/tiny", "out/tiny"),
        ("./{artifact}/here", "a/here"),
    ],
)
def test_one(text: str, found: str) -> None:
    assert told(text) == [found]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("hf:org/tiny", ["hf:org/tiny-a", "hf:org/tiny-x-b.gguf"]),
        ("hf:org/tiny@{artifact}", ["hf:org/tiny@a", "hf:org/tiny@x-b.gguf"]),
        ("oci:ghcr.io/tiny", ["oci:ghcr.io/tiny:a", "oci:ghcr.io/tiny:x-b.gguf"]),
        (
            "oci:ghcr.io/tiny:v1-{artifact}",
            ["oci:ghcr.io/tiny:v1-a", "oci:ghcr.io/tiny:v1-x-b.gguf"],
        ),
        ("out", ["out/a", "out/x-b.gguf"]),
    ],
)
def test_several_get_a_place_each(text: str, found: list[str]) -> None:
    assert told(text, "a", "x/b.gguf") == found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("hf:tiny", "'hf:tiny': a repository is ORG/NAME of letters, digits, '.', '_', '-'"),
        ("hf:org/tiny@", "a repository is ORG/NAME"),
        ("hf:org/a--b", "no '--' or '..', and neither '-' nor '.' at an end"),
        ("hf:org/" + "a" * 99, "the hub allows 96 characters"),
        ("oci:tiny", "a name is REGISTRY/NAME in lower case"),
        ("oci:ghcr.io/Tiny", "a name is REGISTRY/NAME in lower case"),
        ("oci:ghcr.io/tiny:", "a name is REGISTRY/NAME in lower case"),
        ("hub:org/tiny", "it has the unknown scheme 'hub'"),
        ("hf:", "it is empty"),
    ],
)
def test_malformed(text: str, problem: str) -> None:
    with pytest.raises(RecipeError) as error:
        told(text)
    assert problem in str(error.value)
    assert str(error.value).endswith(f"; write {SPELLINGS}")


def test_two_in_one_place() -> None:
    with pytest.raises(RecipeError, match="several artefacts need a tag each: "):
        told("oci:ghcr.io/tiny:v1", "a", "b")
    with pytest.raises(RecipeError) as error:
        told("out", "x/a", "x-a")
    assert str(error.value) == "x/a and x-a would both go to out/x-a; publish one by one"


def test_a_password_in_it_is_not_shown() -> None:
    with pytest.raises(RecipeError) as error:
        told("https://anna:sesame@example.org/x")
    assert "sesame" not in str(error.value)


def test_public_is_of_the_hub() -> None:
    with pytest.raises(RecipeError, match="--public opens a repository of the hub; who may read"):
        places("oci:ghcr.io/tiny", ["a"], public=True)
