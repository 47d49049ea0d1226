"""Streams of tokens: how they are chosen, and how they become text."""

from pathlib import Path

import numpy as np
import pytest

from scripts.backends.model import load_model
from scripts.chat.speaker import Sampling, answer, chooser, pieces
from scripts.texts import load_tokenizer

TEXT = "at dawn 🦔 naïve 漢字 the end"


def test_no_piece_ends_within_a_character(tiny_base: Path) -> None:
    tokenizer = load_tokenizer(tiny_base)
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    assert "\ufffd" in tokenizer.decode(ids[: len(tokenizer("at dawn ")["input_ids"]) + 1])
    found = list(pieces(iter(ids), tokenizer))
    assert "".join(found) == tokenizer.decode(ids)
    assert not any("\ufffd" in piece for piece in found)
    assert len(found) > 5


def test_what_stays_half_is_shown_at_the_end(tiny_base: Path) -> None:
    tokenizer = load_tokenizer(tiny_base)
    ids = tokenizer("🦔", add_special_tokens=False)["input_ids"]
    assert "".join(pieces(iter(ids[:-1]), tokenizer)).endswith("\ufffd")
    assert list(pieces(iter([]), tokenizer)) == []


def test_greedy_answer_is_the_models_most_likely_text(tiny_base: Path) -> None:
    model = load_model("pytorch", tiny_base, threads=1, context=64)
    found = list(answer(model, [10, 11, 12], [], Sampling(max_tokens=6)))
    again = list(answer(model, [10, 11, 12], [found[3]], Sampling(max_tokens=6)))
    assert len(found) == 6
    assert again == found[: found.index(found[3])]
    assert found[1] == int(model.prefill(np.array([10, 11, 12, found[0]])).argmax())


def test_nucleus_takes_the_likeliest_only() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    draws = {top_p: chooser(Sampling(temperature=1.0, top_p=top_p)) for top_p in (0.4, 0.79, 1.0)}
    seen = {top_p: {draw(logits) for _ in range(300)} for top_p, draw in draws.items()}
    assert seen == {0.4: {0}, 0.79: {0, 1}, 1.0: {0, 1, 2, 3}}


@pytest.mark.parametrize("seed", [0, 7])
def test_same_seed_gives_the_same_choices(seed: int) -> None:
    logits = np.zeros(50, np.float32)
    one, two = (chooser(Sampling(temperature=0.8, seed=seed)) for _ in range(2))
    assert [one(logits) for _ in range(20)] == [two(logits) for _ in range(20)]
    assert len({one(logits) for _ in range(50)}) > 10


def test_a_model_can_not_write_control_characters() -> None:
    """Escape sequences move the cursor, change titles and colours; newlines and tabs are text."""

    class Raw:
        def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
            return "".join(map(chr, ids))

    text = "a\x1b[2Jb\x07\x9b31mc\n\td\x7f"
    assert "".join(pieces(map(ord, text), Raw())) == "a[2Jb31mc\n\td"
