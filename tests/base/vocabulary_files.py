"""llama.cpp's own vocabulary files: `python -m tests.base.vocabulary_files` writes
docs/tokenizers.md.

They come in the source distribution of llama-cpp-python, most of them with texts (`.inp`) and the
ids that the published tokenizer gives for them (`.out`).
"""

import random
import re
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from struct import calcsize, unpack_from
from types import SimpleNamespace
from typing import Any

import llama_cpp
from gguf import TokenType

from scripts.errors import QuantmakeError
from scripts.tensors.gguf_fields import Fields

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "tokenizers.md"
TEXTS = 150
_FOLDER = "/vendor/llama.cpp/models/"
_SEPARATOR = "\n__ggml_vocab_test__\n"
_NUMBERS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class Difference:
    """Texts in which llama.cpp departs from the published tokenizer, and we do not."""

    pattern: str
    words: str


_BERT = Difference(
    r"[\u1100-\u11ff\uac00-\ud7a3▁\x0b\x0c\x85\u0300-\u0e7f\u1780-\u17ff\u200b-\u20ff]",
    "Hangul, marks that combine or say the direction, vertical tabs and form feeds, ▁ in the text",
)
_S = Difference("</s>", "`</s>`, which is text for Qwen and an end for llama.cpp")
DIFFERENCES = {
    "bert-bge": _BERT,
    "deepseek-llm": Difference("\u3000", "spaces before an ideographic space"),
    "phi-3": Difference(
        r"[>\]]\s*[\x1c-\x1f\x85\xa0\u1680\u2000-\u3000]",
        "Unicode's spaces after a special token, which llama.cpp keeps",
    ),
    "qwen2": _S,
    "qwen35": _S,
}


def unpack_vocabularies(archive: Path, out: Path) -> None:
    """The vocabulary files of llama.cpp's source, and their texts."""
    with tarfile.open(archive) as tar:
        for member in tar:
            _, _, name = member.name.partition(_FOLDER)
            if name.startswith("ggml-vocab-"):
                tar.extract(member.replace(name=name), out, filter="data")


def vocabulary_files(folder: Path) -> dict[str, Path]:
    """By name, such as `llama-spm`."""
    paths = sorted(folder.glob("ggml-vocab-*.gguf"))
    return {path.stem.removeprefix("ggml-vocab-"): path for path in paths}


def pairs(vocabulary: Path) -> list[tuple[str, list[int]]]:
    """Texts, and the ids that the published tokenizer gives for them."""
    texts, ids = Path(f"{vocabulary}.inp"), Path(f"{vocabulary}.out")
    if not texts.exists():
        return []
    with texts.open(encoding="utf-8", newline="") as file:
        listed = file.read().removesuffix(_SEPARATOR).split(_SEPARATOR)
    lines = ids.read_text(encoding="utf-8").splitlines()
    return [
        (text, [int(number) for number in line.split()])
        for text, line in zip(listed, lines, strict=True)
    ]


_WORDS = [
    *("The", "old", "lantern-keeper", "that", "in", "1987", "3.14159", "it's", "I'VE", "'RE"),
    *("\t", "\n", "\n\n", "\r\n", " ", "  ", "    ", "\x00", "\x0b", "\x7f", "\u00a0", "\u3000"),
    *("==", "--", "...", "!?", "<|", "|>", "<s>", "</s>", "<unk>", "▁", "1234567", "#include"),
    *(
        "我想在",
        "日本語",
        "한국어",
        "កាន់តែ",
        "🦙🦙",
        "½Ⅷ²³٣٤",
        "é",
        "e\u0301",
        "\u200b\u200d🏽",
        "ª",
    ),
    *("<stdio.h>", "```", "$x^2$", "a+b=c", "~tilde", "|", "foo_bar", ",.;:()", "{}[]"),
]
_RANGES = [(0x20, 0x7E), (0xA0, 0x17F), (0x370, 0x4FF), (0x590, 0x97F), (0x2000, 0x218F)]
_MORE_RANGES = [(0x3000, 0x30FF), (0x4E00, 0x4FFF), (0xAC00, 0xACFF), (0x1F300, 0x1F64F)]


def texts(fields: Fields) -> list[str]:
    """Words, letters of many scripts, runs, tokens of the vocabulary and its special ones."""
    rng = random.Random(0)
    tokens = fields.need("tokenizer.ggml.tokens")
    kinds = (TokenType.CONTROL, TokenType.UNKNOWN, TokenType.USER_DEFINED)
    types = fields.need("tokenizer.ggml.token_type")
    special = [token for token, kind in zip(tokens, types, strict=True) if kind in kinds]

    def part() -> str:
        low, high = rng.choice(_RANGES + _MORE_RANGES)
        return rng.choice(
            [
                rng.choice(_WORDS) + rng.choice(["", " "]),
                "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 5))),
                rng.choice(" \n\t=-a01./*#_") * rng.randint(1, 40),
                rng.choice(tokens).replace("▁", " ").replace("Ġ", " ").replace("Ċ", "\n"),
                rng.choice(special),
            ]
        )

    made = ["".join(part() for _ in range(rng.randint(1, 20))) for _ in range(TEXTS)]
    return [text.encode("utf-8", "ignore").decode() for text in made]


def fields_from(file: str, values: Mapping[str, Any]) -> Fields:
    """Fields of these values."""
    fields = {
        key: SimpleNamespace(contents=lambda value=value: value) for key, value in values.items()
    }
    return Fields(file, SimpleNamespace(fields=fields))


def fields_of(vocabulary: Path) -> Fields:
    """The fields, read at once: gguf's reader takes half a minute for a file of merges."""
    return fields_from(vocabulary.name, dict(_values(vocabulary.read_bytes())))


def _values(data: bytes) -> Iterator[tuple[str, Any]]:
    at = 8

    def number(kind: str) -> Any:
        nonlocal at
        (value,) = unpack_from(f"<{kind}", data, at)
        at += calcsize(f"<{kind}")
        return value

    def text() -> str:
        nonlocal at
        length = number("Q")
        at += length
        return data[at - length : at].decode()

    def value(kind: int) -> Any:
        nonlocal at
        if kind == _STRING:
            return text()
        if kind != _ARRAY:
            return number(_NUMBERS[kind])
        inner, count = number("I"), number("Q")
        if inner == _STRING:
            return [text() for _ in range(count)]
        listed = [*unpack_from(f"<{count}{_NUMBERS[inner]}", data, at)]
        at += count * calcsize(f"<{_NUMBERS[inner]}")
        return listed

    number("Q")
    for _ in range(number("Q")):
        key = text()
        yield key, value(number("I"))


@dataclass(frozen=True)
class Outcome:
    """What came of a file: texts whose ids are the same, of how many; or why it is refused."""

    pairs: int
    pairs_same: int = 0
    texts: int = 0
    wrong: tuple[str, ...] = ()
    refused: str = ""


def compare(name: str, vocabulary: Path, folder: Path) -> Outcome:
    """Rebuild the tokenizer in `folder`; compare with the published ids, and with llama.cpp."""
    from transformers import AutoTokenizer

    from scripts.base.gguf_tokenizer import write_tokenizer

    fields, listed = fields_of(vocabulary), pairs(vocabulary)
    try:
        write_tokenizer(fields, 1024, folder)
    except QuantmakeError as error:
        return Outcome(len(listed), refused=str(error))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    same = sum(
        tokenizer(text, add_special_tokens=False)["input_ids"] == ids for text, ids in listed
    )
    reference = llama_cpp.Llama(str(vocabulary), vocab_only=True, verbose=False)
    departs = DIFFERENCES.get(name, Difference("(?!)", ""))
    tried = [text for text in texts(fields) if not re.search(departs.pattern, text)]
    wrong = [
        text
        for text in tried
        if tokenizer(text)["input_ids"]
        != reference.tokenize(text.encode(), add_bos=True, special=True)
    ]
    return Outcome(len(listed), same, len(tried), tuple(wrong))


_INTRODUCTION = """# Tokenizers of GGUF files

A model that comes as a GGUF file gets its tokenizer from the file's fields. llama.cpp's source has
{count} vocabulary files; each is rebuilt here, or refused with the reason. "Published" are the
texts that lie beside a file, with the ids that the model's own tokenizer gives; "llama.cpp" are
seeded texts of words, many scripts, runs and special tokens, with the ids that llama.cpp gives. All
are the same, but for what the last column names: there llama.cpp departs from the published
tokenizer, and the rebuilt one does not. Written by `python -m tests.base.vocabulary_files`.

| file | tokenizer | published | llama.cpp | where llama.cpp departs |
|---|---|---|---|---|
"""


def row(name: str, vocabulary: Path, outcome: Outcome) -> str:
    """The file's line of docs/tokenizers.md."""
    fields = fields_of(vocabulary)
    kind = " / ".join(
        str(value)
        for key in ("model", "pre")
        if (value := fields.get(f"tokenizer.ggml.{key}")) is not None
    )
    if outcome.refused:
        return f"| {name} | {kind} | refused | | {outcome.refused.partition(': ')[2]} |"
    published = f"{outcome.pairs_same} of {outcome.pairs}" if outcome.pairs else "none"
    departs = DIFFERENCES[name].words if name in DIFFERENCES else ""
    reference = f"{outcome.texts - len(outcome.wrong)} of {outcome.texts}"
    return f"| {name} | {kind} | {published} | {reference} | {departs} |"


def write_document(rows: list[str]) -> str:
    """The table."""
    return _INTRODUCTION.format(count=len(rows)) + "\n".join(rows) + "\n"


if __name__ == "__main__":
    from scripts.backends.gguf.toolchain import SHA256, VERSION, download

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        unpack_vocabularies(download(VERSION, SHA256, folder), folder)
        lines = []
        for name, path in vocabulary_files(folder).items():
            (folder / name).mkdir()
            lines.append(row(name, path, compare(name, path, folder / name)))
        DOCUMENT.write_text(write_document(lines), encoding="utf-8")
