"""Which files of a model are fetched."""

import pytest

from scripts.errors import QuantmakeError
from scripts.sources.model_files import needed_files

NAMES = [
    ".gitattributes",
    "LICENSE",
    "README.md",
    "config.json",
    "consolidated.safetensors",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
    "modeling_x.py",
    "onnx/model.safetensors",
    "pytorch_model.bin",
    "tokenizer.json",
    "training_args.bin",
]


def test_only_what_a_build_reads_is_needed() -> None:
    assert needed_files(NAMES, "x") == [
        "LICENSE",
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
    ]


def test_the_models_code_comes_only_when_asked_for() -> None:
    assert "modeling_x.py" in needed_files(NAMES, "x", code=True)


def test_pickled_weights_are_refused_with_the_reason() -> None:
    with pytest.raises(QuantmakeError) as error:
        needed_files(["config.json", "pytorch_model.bin", "old.ckpt"], "hf:a/b")
    assert str(error.value) == (
        "hf:a/b has its weights in pickles only (old.ckpt, pytorch_model.bin), which are refused: "
        "opening a pickle runs whatever code it holds. Use a revision or a conversion of the "
        "model in safetensors or GGUF."
    )


def test_a_folder_without_a_model_says_what_it_holds() -> None:
    with pytest.raises(QuantmakeError) as error:
        needed_files(["a.gguf", "b.gguf"], "path:x")
    assert str(error.value) == (
        "path:x holds no model: there is no .safetensors file in its top folder (found a.gguf, "
        "b.gguf). Name one GGUF file instead: a.gguf, b.gguf."
    )
