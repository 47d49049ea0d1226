"""SentencePiece's scores as a list of merges: exact, or refused with what stands in the way."""

import contextlib
import random
import re
from collections.abc import Mapping
from itertools import pairwise, product

import pytest
from gguf import TokenType
from tokenizers import Tokenizer

from scripts.base.gguf_spm import score_merges
from scripts.base.gguf_vocabulary import Vocabulary
from scripts.errors import QuantmakeError
from tests.base.vocabulary_files import fields_from

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def rebuilt(scores: Mapping[str, float], without: str = "", prefix: bool = False) -> Tokenizer:
    """A tokenizer of these tokens and single bytes."""
    special = {"<unk>": TokenType.UNKNOWN, "<s>": TokenType.CONTROL, "</s>": TokenType.CONTROL}
    kinds = {**special, **dict.fromkeys(BYTES, TokenType.BYTE)}
    kinds |= dict.fromkeys(scores, TokenType.NORMAL)
    kinds.pop(without, None)
    values = {
        "tokenizer.ggml.tokens": [*kinds],
        "tokenizer.ggml.token_type": [*kinds.values()],
        "tokenizer.ggml.scores": [scores.get(token, 0.0) for token in kinds],
        "tokenizer.ggml.add_space_prefix": prefix,
    }
    return score_merges(Vocabulary.of(fields_from("x.gguf", values))).tokenizer


def by_hand(text: str, scores: Mapping[str, float]) -> list[str]:
    """The pair of the highest score is merged, the leftmost of equal ones."""
    parts = [*text]
    while pairs := [
        (-scores[left + right], at)
        for at, (left, right) in enumerate(pairwise(parts))
        if left + right in scores
    ]:
        _, at = min(pairs)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts


@pytest.mark.parametrize("seed", range(40))
def test_merges_are_those_of_the_scores_or_refused(seed: int) -> None:
    rng = random.Random(seed)
    words = ["".join(word) for size in (2, 3, 4) for word in product("ab▁", repeat=size)]
    chosen = rng.sample(words, 12)
    scores = {"a": -100.0, "b": -100.0, "▁": -100.0}
    scores |= {word: -float(rank if seed % 2 else rank // 3) for rank, word in enumerate(chosen)}
    with contextlib.suppress(QuantmakeError):
        tokenizer = rebuilt(scores)
        assert_as_by_hand(tokenizer, scores, rng)


def assert_as_by_hand(
    tokenizer: Tokenizer, scores: Mapping[str, float], rng: random.Random
) -> None:
    for text in ("".join(rng.choice("ab ") for _ in range(30)) for _ in range(100)):
        pieces = tokenizer.encode(text, add_special_tokens=False).tokens
        assert pieces == by_hand(text.replace(" ", "▁"), scores), text


def test_letters_without_a_token_are_bytes_and_come_back() -> None:
    tokenizer = rebuilt({"▁": -9.0, "a": -9.0, "▁a": -1.0}, prefix=True)
    encoded = tokenizer.encode("a é<s>a", add_special_tokens=False)
    assert encoded.tokens == ["▁a", "▁", "<0xC3>", "<0xA9>", "<s>", "▁a"]
    assert tokenizer.decode(encoded.ids) == "a é a"


@pytest.mark.parametrize(
    ("scores", "without", "said"),
    [
        (
            {"a": -9.0},
            "<0x41>",
            "1 of the 256 tokens for single bytes are missing (<0x41>)",
        ),
        ({"a": -9.0, "ab": -1.0}, "", "1 letters are in tokens, but are none themselves: b"),
        (
            {"a": -9.0, "b": -9.0, "ab": -1.0, "ba": -1.0},
            "",
            "tokens have equal scores, and no list of merges says which is made first: 'ab', 'ba'",
        ),
    ],
)
def test_what_no_list_can_say_is_refused(scores: dict[str, float], without: str, said: str) -> None:
    with pytest.raises(QuantmakeError, match=f"^x.gguf: {re.escape(said)}") as caught:
        rebuilt(scores, without)
    assert str(caught.value).endswith(". Name the model's Hugging Face folder or repository.")
