"""Which kind of source a base is made from."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from scripts.base.make_base import Base
from scripts.errors import QuantmakeError


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ["a-1.gguf", "a-2.gguf"],
            "the source holds 2 GGUF files (a-1.gguf, a-2.gguf), but a base is made of one; join "
            "the parts with `llama-gguf-split --merge` and name the result",
        ),
        (
            ["config.json", "pytorch_model.bin"],
            "the source has its weights in pickles only (pytorch_model.bin), which are refused: "
            "opening a pickle runs whatever code it holds. Use a revision or a conversion of the "
            "model in safetensors or GGUF.",
        ),
        (
            ["notes.txt"],
            "the source holds no model: neither a .gguf file nor .safetensors (found notes.txt)",
        ),
    ],
)
def test_a_source_without_a_readable_model_is_told(
    names: list[str], said: str, tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).write_text("{}")
    with pytest.raises(QuantmakeError) as error:
        Base().run({"source": tmp_path}, tmp_path)
    assert str(error.value) == said


def test_a_seed_is_not_negative() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Base(off_grid=-1)
