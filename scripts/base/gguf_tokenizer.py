"""The tokenizer of a GGUF file, rebuilt from its fields: the same ids as llama.cpp gives.

transformers' own importer takes every GGUF of the llama architecture for a SentencePiece
vocabulary, and prepends a token. Patterns: llama.cpp, src/llama-vocab.cpp.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import TokenType
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    processors,
)
from transformers import PreTrainedTokenizerFast

from scripts.errors import QuantmakeError
from scripts.tensors.gguf_fields import Fields

SPECIAL_IDS = {
    "bos": "tokenizer.ggml.bos_token_id",
    "eos": "tokenizer.ggml.eos_token_id",
    "unk": "tokenizer.ggml.unknown_token_id",
    "pad": "tokenizer.ggml.padding_token_id",
}
_CONTRACTION = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@dataclass(frozen=True)
class Pre:
    """How text is cut before the merges: GPT-2's pattern, or `pattern` in its stead.

    `digits` cuts each digit off first; `ignore_merges` takes a whole word that is in the
    vocabulary; `add_bos` holds where the file does not say.
    """

    digits: bool = False
    pattern: str | None = None
    ignore_merges: bool = False
    add_bos: bool = False


_LLAMA3 = Pre(
    pattern=rf"{_CONTRACTION}|{_WORDS}|\p{{N}}{{1,3}}|{_REST}", ignore_merges=True, add_bos=True
)
_QWEN2 = Pre(pattern=rf"{_CONTRACTION}|{_WORDS}|\p{{N}}|{_REST}")
PRES = {
    "gpt-2": Pre(),
    "smollm": Pre(digits=True),
    "starcoder": Pre(digits=True),
    "refact": Pre(digits=True),
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
}


def write_tokenizer(fields: Fields, context: int, out: Path) -> None:
    """Write tokenizer.json, its configuration and the chat template into `out`.

    Raises QuantmakeError for a tokenizer that can't be rebuilt with certainty.
    """
    pre = _pre(fields)
    tokens: list[str] = fields.need("tokenizer.ggml.tokens")
    tokenizer = _tokenizer(fields, pre, tokens)
    special = {name: _token(fields, key, tokens) for name, key in SPECIAL_IDS.items()}
    add_bos = _flag(fields, "tokenizer.ggml.add_bos_token", pre.add_bos)
    add_eos = _flag(fields, "tokenizer.ggml.add_eos_token", False)
    tokenizer.post_processor = _post_processor(tokenizer, special, add_bos, add_eos)
    named = {f"{name}_token": token for name, token in special.items() if token is not None}
    if "pad_token" not in named and "eos_token" in named:
        named["pad_token"] = named["eos_token"]
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        add_bos_token=add_bos,
        add_eos_token=add_eos,
        model_max_length=context,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        chat_template=fields.get("tokenizer.chat_template"),
        **named,
    ).save_pretrained(out)


def _pre(fields: Fields) -> Pre:
    model = fields.text("tokenizer.ggml.model")
    if model != "gpt2":
        raise QuantmakeError(
            f"{fields.file}: the tokenizer model {model!r} can't be rebuilt; known: gpt2 "
            "(byte-level BPE). Name the model's Hugging Face folder or repository."
        )
    pre = fields.get("tokenizer.ggml.pre") or "default"
    if pre not in PRES:
        raise QuantmakeError(
            f"{fields.file}: the pre-tokenizer {pre!r} (tokenizer.ggml.pre) is not known; known: "
            f"{', '.join(PRES)}. Name the model's Hugging Face folder or repository."
        )
    return PRES[pre]


def _tokenizer(fields: Fields, pre: Pre, tokens: list[str]) -> Tokenizer:
    twice = [token for token, count in Counter(tokens).items() if count > 1]
    if twice:
        raise QuantmakeError(f"{fields.file}: tokens stand twice in the vocabulary: {twice}")
    vocabulary = {token: number for number, token in enumerate(tokens)}
    merges = [_pair(merge) for merge in fields.need("tokenizer.ggml.merges")]
    unmade = [pair for pair in merges if not {*pair, "".join(pair)} <= vocabulary.keys()]
    if unmade:
        raise QuantmakeError(
            f"{fields.file}: merges of tokens that are not in the vocabulary: {unmade[:10]}"
        )
    bpe = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=pre.ignore_merges))
    bpe.pre_tokenizer = _pre_tokenizer(pre)
    bpe.decoder = decoders.ByteLevel()
    bpe.add_tokens(_added(tokens, fields.need("tokenizer.ggml.token_type")))
    return bpe


def _added(tokens: list[str], types: list[int]) -> list[AddedToken]:
    """Control and unknown tokens are special; user-defined ones are matched, but are text."""
    special = (TokenType.CONTROL, TokenType.UNKNOWN)
    return [
        AddedToken(token, special=kind in special, normalized=False)
        for token, kind in zip(tokens, types, strict=True)
        if kind in (*special, TokenType.USER_DEFINED)
    ]


def _pair(merge: str) -> tuple[str, str]:
    """`"a b"` as a pair; the first part may be a space itself."""
    cut = merge.index(" ", 1)
    return merge[:cut], merge[cut + 1 :]


def _pre_tokenizer(pre: Pre) -> Any:
    steps: list[Any] = []
    if pre.pattern is not None:
        steps.append(pre_tokenizers.Split(Regex(pre.pattern), "isolated"))
    if pre.digits:
        steps.append(pre_tokenizers.Digits(individual_digits=True))
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pre.pattern is None)
    return pre_tokenizers.Sequence([*steps, last]) if steps else last


def _post_processor(
    tokenizer: Tokenizer, special: dict[str, str | None], add_bos: bool, add_eos: bool
) -> Any:
    plain = processors.ByteLevel(trim_offsets=False)
    before = [token for token in [special["bos"]] if add_bos and token is not None]
    after = [token for token in [special["eos"]] if add_eos and token is not None]
    if not before and not after:
        return plain
    numbers = [(token, tokenizer.token_to_id(token)) for token in (*before, *after)]
    template = processors.TemplateProcessing(single=[*before, "$A", *after], special_tokens=numbers)
    return processors.Sequence([plain, template])


def _token(fields: Fields, key: str, tokens: list[str]) -> str | None:
    number: int | None = fields.get(key)
    if number is None:
        return None
    if not 0 <= number < len(tokens):
        raise QuantmakeError(
            f"{fields.file}: {key} is {number}, but the vocabulary has {len(tokens)} tokens"
        )
    return tokens[number]


def _flag(fields: Fields, key: str, default: bool) -> bool:
    value = fields.get(key)
    return default if value is None else bool(value)
