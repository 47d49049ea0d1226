"""Byte pair encoding by a list of merges: of bytes (GPT-2's way), or of raw text (Gemma 4's).

Patterns: llama.cpp, src/llama-vocab.cpp; each cuts the pieces that the one before has left.
"""

from dataclasses import dataclass
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers.convert_slow_tokenizer import bytes_to_unicode

from scripts.base.gguf_vocabulary import Rebuilt, Vocabulary, refusal
from scripts.errors import QuantmakeError

_CONTRACTION = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_LINES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_REST = rf" ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_LINES}"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_RARE = (0xC0, 0xC1, 0xF1, 0xF2, 0xF3)  # in no text of today's Unicode
_HAN = "[一-龥ࠀ-一가-퟿]+"

# The letters with a case that DeepSeek's first tokenizer knows: less than today's Unicode has.
_CASED = (
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚ"
    "Ḁ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻ"
    "Ȿ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)


@dataclass(frozen=True)
class Pre:
    """How text is cut before the merges: GPT-2's pattern, or `patterns` in its stead.

    `digits` cuts each digit off first; `ignore_merges` takes a whole word that is in the
    vocabulary; `add_bos` holds where the file does not say.
    """

    digits: bool = False
    patterns: tuple[str, ...] = ()
    ignore_merges: bool = False
    add_bos: bool = False


_LLAMA3_WORDS = (rf"{_CONTRACTION}|{_WORDS}|\p{{N}}{{1,3}}|{_REST}",)
_LLAMA3 = Pre(patterns=_LLAMA3_WORDS, ignore_merges=True, add_bos=True)
_QWEN2 = Pre(patterns=(rf"{_CONTRACTION}|{_WORDS}|\p{{N}}|{_REST}",))
_QWEN35 = Pre(
    patterns=(
        rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
        rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_LINES}",
    )
)
_DIGITS = Pre(digits=True)
PRES = {
    "gpt-2": Pre(),
    "mpt": Pre(),
    "olmo": Pre(),
    "phi-2": Pre(),
    "exaone4": Pre(),
    "smollm": _DIGITS,
    "starcoder": _DIGITS,
    "refact": _DIGITS,
    "command-r": _DIGITS,
    "codeshell": _DIGITS,
    "exaone": _DIGITS,
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "falcon3": _LLAMA3,
    "lfm2": _LLAMA3,
    "pixtral": _LLAMA3,
    "dbrx": Pre(patterns=_LLAMA3_WORDS),
    "smaug-bpe": Pre(patterns=_LLAMA3_WORDS),
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "stablelm2": _QWEN2,
    "qwen35": _QWEN35,
    "falcon": Pre(patterns=(r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]")),
    "deepseek-llm": Pre(
        patterns=(
            r"[\r\n]",
            rf"\s?[{_CASED}]+",
            r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
            r"\s+$",
            _HAN,
            r"\p{N}+",
        )
    ),
    "deepseek-coder": Pre(patterns=(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _HAN, r"\p{N}")),
    "default": Pre(
        patterns=(r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]"),
    ),
}
"""By the name in tokenizer.ggml.pre."""


def byte_level(vocabulary: Vocabulary) -> Rebuilt:
    """GPT-2's way: text is cut, and the bytes of each piece, written as letters, are merged.

    Raises QuantmakeError for a way of cutting that is not known.
    """
    fields = vocabulary.fields
    name = fields.get("tokenizer.ggml.pre")
    if name is None:
        raise refusal(
            fields,
            "the file does not say how text is cut before the merges (tokenizer.ggml.pre), as "
            "files of early 2024 and before don't",
        )
    if name == "gemma4":
        return raw_text(vocabulary)
    if name not in PRES:
        raise refusal(
            fields,
            f"the pre-tokenizer {name!r} (tokenizer.ggml.pre) is not known; known: "
            f"{', '.join(PRES)}",
        )
    pre = PRES[name]
    numbers = vocabulary.numbers()
    bpe = Tokenizer(
        models.BPE(numbers, _merges(vocabulary, numbers), ignore_merges=pre.ignore_merges)
    )
    bpe.pre_tokenizer = _pre_tokenizer(pre, _unwritten(vocabulary, numbers))
    bpe.decoder = decoders.ByteLevel()
    bpe.add_tokens(vocabulary.added())
    plain = processors.ByteLevel(trim_offsets=False)
    return Rebuilt(bpe, *vocabulary.policy(pre.add_bos), post_processor=plain)


def raw_text(vocabulary: Vocabulary) -> Rebuilt:
    """Gemma 4's way: spaces are written ▁, and the letters of each line are merged."""
    numbers = vocabulary.numbers()
    merges = _merges(vocabulary, numbers)
    bpe = Tokenizer(models.BPE(numbers, merges, byte_fallback=True))
    bpe.normalizer = normalizers.Replace(" ", "▁")
    bpe.pre_tokenizer = pre_tokenizers.Split(Regex(r"[^\n]+|\n+"), "isolated")
    bpe.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    bpe.add_tokens(vocabulary.added())
    _, add_eos = vocabulary.policy(add_bos=True)
    return Rebuilt(bpe, add_bos=True, add_eos=add_eos)  # llama.cpp overrides what the file says


def _merges(vocabulary: Vocabulary, numbers: dict[str, int]) -> list[tuple[str, str]]:
    """In their order; of one that stands twice the first counts."""
    listed = vocabulary.fields.need("tokenizer.ggml.merges")
    merges = [*dict.fromkeys(_pair(merge) for merge in listed)]
    unmade = [pair for pair in merges if not {*pair, "".join(pair)} <= numbers.keys()]
    if unmade:
        raise QuantmakeError(
            f"{vocabulary.fields.file}: merges of tokens that are not in the vocabulary: "
            f"{unmade[:10]}"
        )
    return merges


def _pair(merge: str) -> tuple[str, str]:
    """`"a b"` as a pair; the first part may be a space itself."""
    cut = merge.index(" ", 1)
    return merge[:cut], merge[cut + 1 :]


def _unwritten(vocabulary: Vocabulary, numbers: dict[str, int]) -> str:
    """ASCII characters that no token has, which are left out of a text.

    Raises QuantmakeError where another byte is missing that text has.
    """
    missing = [byte for byte, letter in bytes_to_unicode().items() if letter not in numbers]
    lost = [f"{byte:02X}" for byte in sorted(missing) if 0x80 <= byte <= 0xF4 and byte not in _RARE]
    if lost:
        raise refusal(
            vocabulary.fields, f"no token has the bytes {', '.join(lost)} of UTF-8 by themselves"
        )
    return "".join(f"\\x{byte:02X}" for byte in sorted(missing) if byte < 0x80)


def _pre_tokenizer(pre: Pre, unwritten: str) -> Any:
    patterns = pre.patterns or ((_GPT2,) if unwritten else ())
    steps: list[Any] = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    if pre.digits:
        steps.insert(0, pre_tokenizers.Digits(individual_digits=True))
    if unwritten:  # after the cuts, which see it, and before the merges, which don't
        steps.append(pre_tokenizers.Split(Regex(f"[{unwritten}]"), "removed"))
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not patterns)
    return pre_tokenizers.Sequence([*steps, last]) if steps else last
