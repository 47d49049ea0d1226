"""Fixtures that many tests share: the tiny base and the tiny text, made once per run."""

from pathlib import Path

import pytest

from tests.tiny import make_tiny_base, write_tiny_text


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder (FP16) of the tiny Llama: 3 layers, width 128, 512 tokens."""
    return make_tiny_base(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of 300 lines in the tiny language, which the tiny Llama did not see."""
    return write_tiny_text(tmp_path_factory.mktemp("text") / "tiny.txt")
