"""A tiny BERT as GGUF: llama.cpp embeds as the base does, in F16 and in its plain types."""

import shutil
from functools import partial
from pathlib import Path

import pytest

from scripts.backends.encoder import embed_all, load_encoder
from scripts.backends.encoder_parity import sentences_of
from scripts.backends.format import all_formats
from scripts.backends.gguf.encoder.f16 import EncoderF16
from scripts.base.encoder import EncoderBase
from scripts.errors import QuantmakeError
from scripts.exec import run_stage
from tests.conftest import Once
from tests.encoders import make_tiny_bert

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base(once: Once) -> Path:
    """The base of the tiny BERT."""
    source = once("bert", make_tiny_bert)
    return once("bert-base", partial(run_stage, EncoderBase(), {"source": source}))


@pytest.fixture(scope="module")
def f16(base: Path, toolchain: Path, once: Once) -> Path:
    """The same in F16, which its gate let through."""
    stage, inputs = EncoderF16(tokenizer_pre="bert-bge"), {"base": base, "toolchain": toolchain}
    return once("bert-f16", lambda out: run_stage(stage, inputs, out / "f16.gguf")) / "f16.gguf"


def test_q8_0_embeds_as_the_base_does(f16: Path, base: Path, tmp_path: Path) -> None:
    (kind,) = (one for one in all_formats("encoder") if one.backend == "gguf")
    run_stage(kind.model_validate({"format": "gguf", "type": "q8_0"}), {"f16": f16}, tmp_path / "q")
    sentences = sentences_of(base)
    wanted = embed_all(load_encoder("pytorch", base, threads=1), sentences, 8)
    cosines = [
        (embed_all(load_encoder("gguf", path, threads=1), sentences, size) * wanted).sum(1).mean()
        for path, size in ((f16, 1), (f16, 32), (tmp_path / "q", 32))
    ]
    assert min(cosines[:2]) > 0.9999
    assert 0.99 < cosines[2] < cosines[1]


def test_gate_refuses_another_models_base(f16: Path, base: Path, tmp_path: Path) -> None:
    """The file is of other weights than the base."""
    shutil.copytree(base, tmp_path / "base")
    (tmp_path / "base/1_Pooling/config.json").write_text('{"pooling_mode_cls_token": true}')
    with pytest.raises(QuantmakeError, match="GGUF F16 does not embed as the base does"):
        EncoderF16().check({"base": tmp_path / "base"}, f16)
