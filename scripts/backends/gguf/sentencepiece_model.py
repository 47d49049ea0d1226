"""A SentencePiece model made of tokenizer.json, for folders that lack tokenizer.model.

llama.cpp's converter reads the scores of the tokens from tokenizer.model alone; without it, it
stops or gives all tokens one score. Format: sentencepiece_model.proto of SentencePiece.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from scripts.base.gguf_spm import pieces_by, unit_of

Json = dict[str, Any]
Pair = tuple[str, str]

NAME = "tokenizer.model"
_SPACE = "▁"
_BYTES = frozenset(f"<0x{byte:02X}>" for byte in range(256))
_NAMED = 5
_RUN = 40  # tokens: how long the runs are that are compared


class NotExactError(ValueError):
    """No SentencePiece model gives the same tokens; the text says why."""


def is_sentencepiece(base: Path) -> bool:
    """Whether the tokenizer of a base was one of SentencePiece's byte pair encodings."""
    path = base / "tokenizer.json"
    if not path.is_file():
        return False
    model = json.loads(path.read_text(encoding="utf-8")).get("model", {})
    return model.get("type") == "BPE" and bool(model.get("byte_fallback"))


def write_model(base: Path, out: Path) -> None:
    """Write tokenizer.model into `out`, and added_tokens.json with the tokens that are text.

    Raises NotExactError where the merges of tokenizer.json are no order of scores.
    """
    described = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
    prefix, merges = _has_prefix(described), _Merges(described)
    added = {token["content"]: token for token in described.get("added_tokens") or []}
    (out / NAME).write_bytes(_proto(described, merges.scores(), added, prefix))
    texts = {name: token["id"] for name, token in added.items() if not token["special"]}
    if texts:
        (out / "added_tokens.json").write_text(json.dumps(texts), encoding="utf-8")


def _has_prefix(described: Json) -> bool:
    """Whether a text gets a space in front; raises NotExactError for any other change to it."""
    normalizer, pre = described.get("normalizer"), described.get("pre_tokenizer")
    steps = _steps(normalizer, "normalizers") + _steps(pre, "pretokenizers")
    prefix = False
    for step in steps:
        match step:
            case {"type": "Prepend", "prepend": "▁"}:
                prefix = True
            case {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}:
                continue
            case {"type": "Split", "pattern": {"String": " "}}:  # which are ▁ by then
                continue
            case {"type": "Metaspace", "replacement": "▁", "split": False}:
                prefix = step["prepend_scheme"] != "never"
            case _:
                raise NotExactError(f"it changes or cuts text by {step['type']}")
    return prefix


def _steps(step: Json | None, inner: str) -> list[Json]:
    if step is None:
        return []
    return list(step[inner]) if step["type"] == "Sequence" else [step]


class _Merges:
    """The merges of tokenizer.json, as scores of the tokens that they make."""

    def __init__(self, described: Json) -> None:
        model = described["model"]
        if model.get("ignore_merges"):
            raise NotExactError("it takes whole words before it merges (ignore_merges)")
        if not model.get("unk_token"):
            raise NotExactError("it has no unknown token")
        self._tokens: dict[str, int] = dict(model["vocab"])
        missing = sorted(_BYTES - {*map(_as_byte, self._tokens)})
        if missing:
            raise NotExactError(
                f"it lacks the tokens of single bytes {', '.join(missing[:_NAMED])}"
            )
        self._pairs = [_pair(merge) for merge in model["merges"]]
        self._found_first = {token["content"] for token in described.get("added_tokens") or []}
        self._described = described

    def scores(self) -> dict[str, float]:
        """Of each token that is made of others: the later it is made, the lower. Tokens whose
        merges are mixed, such as runs of spaces, have the same.

        Raises NotExactError where a token has not all of its ways, or scores cut otherwise.
        """
        groups = [*_groups(self._pairs)]
        ways = defaultdict[str, set[Pair]](set)
        for pair in self._pairs:
            ways["".join(pair)].add(pair)
        partial = [
            token
            for token in self._tokens.keys() - _BYTES - self._found_first
            if {*self._splits(token)} != ways[token]
        ]
        if partial:
            raise NotExactError(
                f"{len(partial)} tokens are not merged of all pairs that make them, such as "
                f"{', '.join(map(repr, sorted(partial)[:_NAMED]))}"
            )
        scores = {
            "".join(pair): -float(rank) for rank, group in enumerate(groups) for pair in group
        }
        self._compare(groups, scores)
        return scores

    def _splits(self, token: str) -> Iterator[Pair]:
        for cut in range(1, len(token)):
            pair = token[:cut], token[cut:]
            if all(part in self._tokens or len(part) == 1 for part in pair):
                yield pair

    def _compare(self, groups: Iterable[list[Pair]], scores: Mapping[str, float]) -> None:
        """Where two pairs overlap, equal scores merge the left one, a list the first."""
        from tokenizers import Tokenizer

        bare = {"normalizer": None, "pre_tokenizer": None, "post_processor": None}
        merges = Tokenizer.from_str(json.dumps({**self._described, **bare, "added_tokens": []}))
        for text in (text for group in groups for text in _overlaps(group)):
            if merges.encode(text).tokens != pieces_by(scores, text):
                raise NotExactError(f"{text!r} is cut otherwise by scores")


def _groups(pairs: list[Pair]) -> Iterator[list[Pair]]:
    """The merges in their order; those of one token are in one group, with all between them."""
    last = {"".join(pair): rank for rank, pair in enumerate(pairs)}
    group: list[Pair] = []
    end = 0
    for rank, pair in enumerate(pairs):
        group.append(pair)
        end = max(end, last["".join(pair)])
        if rank == end:
            yield group
            group, end = [], rank + 1


def _overlaps(group: list[Pair]) -> Iterator[str]:
    """Texts in which two pairs of a group share a part, and runs of one text."""
    rests = defaultdict[str, list[str]](list)
    for left, right in group:
        rests[left].append(right)
    for left, right in group:
        for rest in rests[right]:
            if (right, rest) != (left, right):
                yield left + right + rest
    tokens = {"".join(pair) for pair in group}
    for unit in {unit_of(token) for token in tokens if unit_of(token) != token}:
        yield from (unit * count for count in range(2, _RUN))


def _as_byte(token: str) -> str:
    """Gemma's tab stands in the place of its byte."""
    return "<0x09>" if token == "\t" else token


def _pair(merge: str | list[str]) -> Pair:
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left, right


def _proto(
    described: Json, scores: Mapping[str, float], added: Mapping[str, Json], prefix: bool
) -> bytes:
    from sentencepiece import sentencepiece_model_pb2

    messages: Any = sentencepiece_model_pb2  # made by protobuf, without types
    model = messages.ModelProto()
    kinds = model.SentencePiece
    names = {number: token for token, number in described["model"]["vocab"].items()}
    names |= {token["id"]: name for name, token in added.items()}
    lowest, tab_is_byte = -float(len(scores)), "<0x09>" not in described["model"]["vocab"]
    for number in range(max(names) + 1):
        name = names.get(number, f"[PAD{number}]")
        name = _as_byte(name) if tab_is_byte else name
        kind = kinds.NORMAL if number in names else kinds.UNUSED
        if name in added:
            kind = kinds.CONTROL if added[name]["special"] else kinds.USER_DEFINED
        if name == described["model"]["unk_token"]:
            kind = kinds.UNKNOWN
        elif name in _BYTES:
            kind = kinds.BYTE
        score = scores.get(name, lowest)
        model.pieces.append(kinds(piece=name, score=score, type=kind))
    model.trainer_spec.model_type = model.trainer_spec.BPE
    model.trainer_spec.vocab_size = len(model.pieces)
    model.trainer_spec.byte_fallback = True
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = prefix
    model.normalizer_spec.remove_extra_whitespaces = False
    return bytes(model.SerializeToString(deterministic=True))
