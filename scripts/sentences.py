"""Sentences as token ids in a folder: what an encoder's calibration and reference are made of."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from scripts.errors import QuantmakeError
from scripts.strict import Strict

_FILE = "sentences.json"
_END = re.compile(r"(?<=[.!?])\s+")
_SHORTEST = 20  # characters: less is a heading, a bracket, a number


class Sentences(Strict):
    """Token ids by kind of text, special tokens included; `truncated` counts those that were longer
    than the model takes."""

    kinds: dict[str, list[list[int]]]
    longest: int
    truncated: int

    @property
    def all(self) -> list[list[int]]:
        """Of all kinds, one after the other."""
        return [one for sentences in self.kinds.values() for one in sentences]

    def slices(self) -> dict[str, slice]:
        """Which of all sentences are of each kind."""
        slices, end = dict[str, slice](), 0
        for kind, sentences in self.kinds.items():
            slices[kind] = slice(end, end + len(sentences))
            end += len(sentences)
        return slices


def sentences_in(lines: Iterable[str]) -> list[str]:
    """The distinct sentences of some lines, in order; those under 20 characters are left out."""
    parts = (part.strip() for line in lines for part in _END.split(line.strip()))
    return list(dict.fromkeys(part for part in parts if len(part) >= _SHORTEST))


def tokenised(texts: Mapping[str, list[str]], base: Path, longest: int) -> Sentences:
    """Sentences by kind as the base's tokenizer cuts them, of `longest` tokens at most."""
    from scripts.texts import load_tokenizer

    tokenizer = load_tokenizer(base)
    whole = {kind: tokenizer(some)["input_ids"] for kind, some in texts.items()}
    cut = {
        kind: tokenizer(some, truncation=True, max_length=longest)["input_ids"]
        for kind, some in texts.items()
    }
    lengths = [len(one) for some in whole.values() for one in some]
    return Sentences(
        kinds=cut, longest=longest, truncated=sum(length > longest for length in lengths)
    )


def spread_out(sentences: list[str], count: int, where: str) -> list[str]:
    """`count` of them, evenly over the text; raises QuantmakeError where there are fewer."""
    if len(sentences) < count:
        raise QuantmakeError(
            f"{where} is too short: its lines hold {len(sentences):,} sentences of {_SHORTEST} "
            f"characters or more, but {count:,} are asked for (`sentences`). Take more lines or "
            "fewer sentences."
        )
    return [sentences[place * len(sentences) // count] for place in range(count)]


def write_sentences(folder: Path, sentences: Sentences) -> None:
    """Store them."""
    (folder / _FILE).write_text(json.dumps(sentences.model_dump()) + "\n", encoding="utf-8")


def read_sentences(folder: Path) -> Sentences:
    """What `write_sentences` stored."""
    return Sentences.model_validate_json((folder / _FILE).read_bytes())
