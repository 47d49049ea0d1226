"""Our figures against the definition of llama.cpp's tools/perplexity, computed on its own.

There: the text is tokenised whole, cut into chunks of n_ctx, BOS in place of a chunk's first token
where the model wants one; tokens n_ctx/2 to n_ctx - 2 of each predict the next; the perplexity is
exp of the mean negative log-likelihood, and the KL divergence that from the F16 file's logits.
"""

from pathlib import Path

import llama_cpp
import numpy as np
import pytest
from numpy.typing import NDArray

from scripts.backends.gguf.format import GgufFile
from scripts.evaluation.evaluate import Evaluate
from scripts.evaluation.reference import Reference
from scripts.evaluation.result import Measured
from scripts.exec import run_stage
from scripts.token_windows import read_windows

CHUNK, CHUNKS = 128, 4


@pytest.fixture(scope="module")
def q4_0(tiny_f16: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in Q4_0."""
    out = tmp_path_factory.mktemp("gguf") / "model.gguf"
    run_stage(GgufFile(format="gguf", type="q4_0"), {"f16": tiny_f16}, out)
    return out


def llama_logprobs(path: Path, text: str) -> tuple[NDArray[np.float64], list[int]]:
    """Log-probabilities [chunks, scored, vocabulary] and token ids, by llama.cpp alone."""
    model = llama_cpp.llama_model_load_from_file(
        str(path).encode(), llama_cpp.llama_model_default_params()
    )
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    ids = (llama_cpp.llama_token * len(text))()
    raw = text.encode()
    count = llama_cpp.llama_tokenize(vocabulary, raw, len(raw), ids, len(text), False, False)
    tokens = list(ids[:count])[: CHUNK * CHUNKS]
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx = settings.n_batch = CHUNK
    context = llama_cpp.llama_init_from_model(model, settings)
    width = llama_cpp.llama_vocab_n_tokens(vocabulary)
    found = []
    for start in range(0, CHUNK * CHUNKS, CHUNK):
        chunk = tokens[start : start + CHUNK]
        if llama_cpp.llama_vocab_get_add_bos(vocabulary):
            chunk[0] = llama_cpp.llama_vocab_bos(vocabulary)
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        batch = llama_cpp.llama_batch_init(CHUNK, 0, 1)
        batch.n_tokens = CHUNK
        for place, token in enumerate(chunk):
            batch.token[place], batch.pos[place] = token, place
            batch.n_seq_id[place], batch.seq_id[place][0] = 1, 0
            batch.logits[place] = True
        assert llama_cpp.llama_decode(context, batch) == 0
        rows = np.ctypeslib.as_array(llama_cpp.llama_get_logits(context), (CHUNK, width))
        scored = rows[CHUNK // 2 : CHUNK - 1].astype(np.float64)
        scored -= scored.max(-1, keepdims=True)
        found.append(scored - np.log(np.exp(scored).sum(-1, keepdims=True)))
        llama_cpp.llama_batch_free(batch)
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return np.array(found), tokens


def perplexity(logprobs: NDArray[np.float64], tokens: list[int]) -> float:
    """exp of the mean surprise at the tokens that followed."""
    followed = np.array(tokens).reshape(CHUNKS, CHUNK)[:, CHUNK // 2 + 1 :]
    return float(np.exp(-np.take_along_axis(logprobs, followed[..., None], -1).mean()))


def test_perplexity_and_divergence_agree_within_one_per_cent(
    tiny_base: Path, tiny_text: Path, tiny_f16: Path, q4_0: Path, tmp_path: Path
) -> None:
    stage = Reference(lines=(0, 100), windows=CHUNKS, context=CHUNK)
    run_stage(stage, {"base": tiny_base, "text": tiny_text}, tmp_path / "reference")
    text = "".join(tiny_text.read_text().splitlines(keepends=True)[:100])
    base, tokens = llama_logprobs(tiny_f16, text)
    ours = read_windows(tmp_path / "reference")
    assert ours.reshape(-1).tolist() == tokens
    for path in (tiny_f16, q4_0):
        inputs = {"artifact": path, "base": tiny_base, "reference": tmp_path / "reference"}
        out = tmp_path / f"{path.stem}.json"
        run_stage(Evaluate(artifact="x", backend="gguf"), inputs, out)
        quality = Measured.model_validate_json(out.read_bytes()).quality
        logprobs, _ = llama_logprobs(path, text)
        assert quality.perplexity.value == pytest.approx(perplexity(logprobs, tokens), rel=0.01)
        kld = (np.exp(base) * (base - logprobs)).sum(-1).mean()
        assert quality.kld_mean.value == pytest.approx(kld, rel=0.01, abs=1e-4)
    assert kld > 5e-4
