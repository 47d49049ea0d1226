"""SentencePiece's byte pair encoding, where scores say which letters are merged first."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise, permutations

from gguf import TokenType
from tokenizers import Tokenizer, decoders, models, normalizers

from scripts.base.gguf_vocabulary import SPECIAL, Rebuilt, Vocabulary, refusal
from scripts.errors import QuantmakeError

_IDS = {"bos": 1, "eos": 2, "unk": 0}
_SPACE = "▁"
_LONGER = 3  # times the longest token: how far runs of one text are compared
_NAMED = 10

Pair = tuple[str, str]


def score_merges(vocabulary: Vocabulary) -> Rebuilt:
    """The pair whose token has the highest score is merged first, the leftmost of equal ones.

    Raises QuantmakeError where no list of merges, which is what Hugging Face's tokenizers know,
    does the same.
    """
    fields = vocabulary.fields
    scores: Sequence[float] = fields.need("tokenizer.ggml.scores")
    numbers = vocabulary.numbers()
    _require_bytes(vocabulary)
    merges = _Merges(vocabulary, scores)
    unknown = vocabulary.token("tokenizer.ggml.unknown_token_id", _IDS["unk"])
    spm = Tokenizer(
        models.BPE(numbers, merges.listed(), unk_token=unknown, fuse_unk=True, byte_fallback=True)
    )
    merges.compare_runs(spm)
    prefix = vocabulary.flag("tokenizer.ggml.add_space_prefix", True)
    spaces = normalizers.Replace(" ", _SPACE)
    spm.normalizer = (
        normalizers.Sequence([normalizers.Prepend(_SPACE), spaces]) if prefix else spaces
    )
    text = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    spm.decoder = decoders.Sequence([*text, *[decoders.Strip(" ", 1, 0)] * prefix])
    spm.add_tokens(vocabulary.added())
    return Rebuilt(spm, *vocabulary.policy(add_bos=True), ids=_IDS)


def _require_bytes(vocabulary: Vocabulary) -> None:
    known = {*vocabulary.tokens}
    missing = [name for byte in range(256) if (name := f"<0x{byte:02X}>") not in known]
    if missing:
        raise refusal(
            vocabulary.fields,
            f"{len(missing)} of the 256 tokens for single bytes are missing "
            f"({', '.join(missing[:_NAMED])})",
        )


class _Merges:
    """Every way to make a token of two others, and a list in which to try them."""

    def __init__(self, vocabulary: Vocabulary, scores: Sequence[float]) -> None:
        self._fields = vocabulary.fields
        whole = vocabulary.of_types(*SPECIAL, TokenType.BYTE)
        self._scores = {
            token: score
            for token, score in zip(vocabulary.tokens, scores, strict=True)
            if token not in whole
        }
        halves = {token: [*self._pairs(token)] for token in self._scores}
        self._halves = {token: pairs for token, pairs in halves.items() if pairs}
        self._refuse_unlisted_letters()

    def _pairs(self, token: str) -> Iterator[Pair]:
        for cut in range(1, len(token)):
            pair = token[:cut], token[cut:]
            if all(part in self._scores or len(part) == 1 for part in pair):
                yield pair

    def _refuse_unlisted_letters(self) -> None:
        """A letter that is no token can be merged by llama.cpp, but not by a list of tokens."""
        parts = {part for pairs in self._halves.values() for pair in pairs for part in pair}
        letters = sorted(parts - self._scores.keys())
        if letters:
            raise refusal(
                self._fields,
                f"{len(letters)} letters are in tokens, but are none themselves: "
                f"{' '.join(letters[:_NAMED])}",
            )

    def listed(self) -> list[Pair]:
        """All pairs, the first to be merged first."""
        by_score = defaultdict(list)
        for token in self._halves:
            by_score[self._scores[token]].append(token)
        return [
            pair
            for score in sorted(by_score, reverse=True)
            for group in self._in_turn(by_score[score])
            for pair in self._in_order(group)
        ]

    def _in_turn(self, tokens: list[str]) -> list[list[str]]:
        """Tokens of one score in groups: one that begins within another one comes after it. Runs
        of one text, such as of spaces, begin within each other and are one group.

        Raises QuantmakeError for tokens that what is merged next makes depend on each other."""
        groups = defaultdict(list)
        for token in tokens:
            groups[unit_of(token)].append(token)
        if len(groups) == 1:
            return [*groups.values()]
        begins = {unit: {left for left, _ in self._pairs_of(groups[unit])} for unit in groups}
        ends = {unit: {right for _, right in self._pairs_of(groups[unit])} for unit in groups}
        after, before = self._neighbours(tokens)
        turns = TopologicalSorter[str](dict.fromkeys(groups, ()))
        for unit, later in permutations(groups, 2):
            if ends[unit] & begins[later]:
                turns.add(later, unit)
            if after[unit] & (begins[later] | before[later]) or ends[unit] & before[later]:
                raise self._tied([unit, later])
        try:
            return [groups[unit] for unit in turns.static_order()]
        except CycleError as error:
            raise self._tied(error.args[1]) from None

    def _neighbours(self, tokens: list[str]) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
        """By group, what one of its tokens is merged with at once, where that stands behind it or
        before it: the token that they make has no lower score."""
        after, before = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
        tied = {*tokens}
        for token, pairs in self._halves.items():
            if self._scores[token] >= self._scores[tokens[0]]:
                for left, right in pairs:
                    if left in tied:
                        after[unit_of(left)].add(right)
                    if right in tied:
                        before[unit_of(right)].add(left)
        return after, before

    def _tied(self, tokens: Iterable[str]) -> QuantmakeError:
        return refusal(
            self._fields,
            "tokens have equal scores, and no list of merges says which is made first: "
            f"{', '.join(map(repr, tokens))}",
        )

    def _pairs_of(self, tokens: list[str]) -> list[Pair]:
        return [pair for token in tokens for pair in self._halves[token]]

    def _in_order(self, group: list[str]) -> list[Pair]:
        """The pairs of a group, so that of two which overlap the left one comes first.

        `ab` + `aba` and `aba` + `ba` overlap in `ab aba ba`; of one token, only pairs of the same
        two lengths can. A run grows from the left: its longer part stands there.
        """
        ordered = sorted(self._pairs_of(group), key=lambda pair: -len(pair[0]))
        if len(group) == 1 and unit_of(group[0]) == group[0]:
            for left, right in [*ordered]:
                longer = right, group[0][len(right) :]
                if len(left) < len(right) and longer in ordered:
                    ordered.remove((left, right))
                    ordered.insert(ordered.index(longer), (left, right))
        return ordered

    def compare_runs(self, spm: Tokenizer) -> None:
        """Raise QuantmakeError where a run of one text, such as of spaces, is cut otherwise.

        Of `aaa` = `a` + `aa` = `aa` + `a` the leftmost is merged, which no list can say of every
        text; but runs grow from the left, and all that are tried come out the same.
        """
        longest = max(map(len, self._scores), default=0)
        for unit in sorted({unit_of(token) for token in self._halves if unit_of(token) != token}):
            for count in range(2, _LONGER * longest // len(unit) + 1):
                text = unit * count
                pieces = spm.encode(text, add_special_tokens=False).tokens
                if pieces != pieces_by(self._scores, text):
                    raise refusal(
                        self._fields, f"{count} × {unit!r} can't be cut as llama.cpp does"
                    )


def pieces_by(scores: Mapping[str, float], text: str) -> list[str]:
    """A text as llama.cpp cuts it: the pair whose token has the highest score is merged first, of
    equal ones the leftmost."""
    parts = [*text]
    while True:
        found = [scores.get(left + right) for left, right in pairwise(parts)]
        known = [score for score in found if score is not None]
        if not known:
            return parts
        at = found.index(max(known))
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def unit_of(text: str) -> str:
    """The shortest text that it is a run of; itself, where it is none."""
    return text[: (text + text).index(text, 1)]
