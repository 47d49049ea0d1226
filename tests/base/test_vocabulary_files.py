"""Every vocabulary file of llama.cpp is rebuilt with the published ids, or refused by name."""

from pathlib import Path

import pytest

from tests.base.vocabulary_files import (
    DOCUMENT,
    Outcome,
    compare,
    row,
    unpack_vocabularies,
    vocabulary_files,
    write_document,
)
from tests.conftest import Once


@pytest.fixture(scope="session")
def folder(llama_cpp_source: Path, once: Once) -> Path:
    return once("vocabularies", lambda out: unpack_vocabularies(llama_cpp_source, out))


@pytest.fixture(scope="module")
def outcomes(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    return {
        name: compare(name, path, tmp_path_factory.mktemp(name))
        for name, path in vocabulary_files(folder).items()
    }


def test_all_published_ids_come_out(outcomes: dict[str, Outcome]) -> None:
    assert sum(outcome.pairs > 0 for outcome in outcomes.values()) == 15
    wrong = {
        name: f"{outcome.pairs_same} of {outcome.pairs}"
        for name, outcome in outcomes.items()
        if outcome.pairs_same != outcome.pairs
    }
    assert not wrong


def test_other_texts_have_llama_cpps_ids(outcomes: dict[str, Outcome]) -> None:
    assert {name: outcome.wrong for name, outcome in outcomes.items() if outcome.wrong} == {}


def test_what_is_refused_is_named(outcomes: dict[str, Outcome]) -> None:
    no_pre = "the file does not say how text is cut before the merges (tokenizer.ggml.pre), as "
    no_pre += "files of early 2024 and before don't"
    unigram = (
        "the tokenizer model 't5' (Unigram) can't be rebuilt; known: gpt2, gemma4, llama, bert"
    )
    reasons = {"aquila": no_pre, "gpt-neox": no_pre, "nomic-bert-moe": unigram}
    assert {name: outcome.refused for name, outcome in outcomes.items() if outcome.refused} == {
        name: f"ggml-vocab-{name}.gguf: {reason}. Name the model's Hugging Face folder or "
        "repository."
        for name, reason in reasons.items()
    }


def test_document_is_up_to_date(folder: Path, outcomes: dict[str, Outcome]) -> None:
    files = vocabulary_files(folder)
    rows = [row(name, files[name], outcome) for name, outcome in outcomes.items()]
    assert DOCUMENT.read_text(encoding="utf-8") == write_document(rows), (
        "run python -m tests.base.vocabulary_files"
    )
