"""The tokenizer of a GGUF file, rebuilt from its fields: the same ids as llama.cpp gives.

transformers' own importer takes every GGUF of the llama architecture for a SentencePiece
vocabulary, and prepends a token. Rules: llama.cpp, src/llama-vocab.cpp.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tokenizers import processors

from scripts.base.config_json import write_json
from scripts.base.gguf_bpe import byte_level, raw_text
from scripts.base.gguf_spm import score_merges
from scripts.base.gguf_vocabulary import Rebuilt, Vocabulary, refusal
from scripts.base.gguf_wordpiece import word_pieces
from scripts.tensors.gguf_fields import Fields

SPECIAL_IDS = {
    "bos": "tokenizer.ggml.bos_token_id",
    "eos": "tokenizer.ggml.eos_token_id",
    "unk": "tokenizer.ggml.unknown_token_id",
    "pad": "tokenizer.ggml.padding_token_id",
}
_MORE_IDS = {
    "cls": "tokenizer.ggml.cls_token_id",
    "sep": "tokenizer.ggml.seperator_token_id",  # so spelt in the format
    "mask": "tokenizer.ggml.mask_token_id",
}
_OF_A_TOKEN = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
MODELS: dict[str, Callable[[Vocabulary], Rebuilt]] = {
    "gpt2": byte_level,
    "gemma4": raw_text,
    "llama": score_merges,
    "bert": word_pieces,
}
"""By the name in tokenizer.ggml.model."""
_REFUSED = {"t5": "Unigram", "rwkv": "RWKV", "plamo2": "PLaMo 2"}


def write_tokenizer(fields: Fields, context: int, out: Path) -> None:
    """Write tokenizer.json, its configuration and the chat template into `out`.

    Raises QuantmakeError for a tokenizer that can't be rebuilt with certainty.
    """
    vocabulary = Vocabulary.of(fields)
    rebuilt = _model(fields)(vocabulary)
    keys = {**SPECIAL_IDS, **(_MORE_IDS if rebuilt.is_encoder else {})}
    special = {name: vocabulary.token(key, rebuilt.ids.get(name)) for name, key in keys.items()}
    if rebuilt.is_encoder:  # llama.cpp takes what stands before a text for the begin
        special["cls"] = special["cls"] or special["bos"]
        first, last = [special["cls"]], [special["sep"]]
    else:
        first = [special["bos"]] * rebuilt.add_bos
        last = [special["eos"]] * rebuilt.add_eos
    _refuse_nameless(fields, first=first, last=last)
    rebuilt.tokenizer.post_processor = _post_processor(rebuilt, [*first], [*last])
    named = {f"{name}_token": token for name, token in special.items() if token is not None}
    if "pad_token" not in named and "eos_token" in named:
        named["pad_token"] = named["eos_token"]
    _write(rebuilt, named, context, out)
    template = fields.get("tokenizer.chat_template")
    if template is not None:
        (out / "chat_template.jinja").write_text(template, encoding="utf-8")


def _write(rebuilt: Rebuilt, named: dict[str, str], context: int, out: Path) -> None:
    """In the words of transformers 4, which 5 reads too; its own classes change a tokenizer that
    they are given, and by version what they write of it."""
    out.mkdir(exist_ok=True)
    tokenizer = rebuilt.tokenizer
    there = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    tokenizer.add_special_tokens([one for one in dict.fromkeys(named.values()) if one not in there])
    tokenizer.save(str(out / "tokenizer.json"))
    added = {  # by numbers, which JSON makes texts of: they are sorted as numbers
        number: {name: getattr(token, name) for name in _OF_A_TOKEN}
        for number, token in sorted(tokenizer.get_added_tokens_decoder().items())
    }
    settings = {
        "add_bos_token": rebuilt.add_bos,
        "add_eos_token": rebuilt.add_eos,
        "added_tokens_decoder": added,
        "clean_up_tokenization_spaces": False,
        "extra_special_tokens": {},
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": context,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    write_json(out / "tokenizer_config.json", {**settings, **named})
    write_json(out / "special_tokens_map.json", {**named})


def _model(fields: Fields) -> Callable[[Vocabulary], Rebuilt]:
    model = fields.text("tokenizer.ggml.model")
    if model not in MODELS:
        kind = f" ({_REFUSED[model]})" if model in _REFUSED else ""
        raise refusal(
            fields,
            f"the tokenizer model {model!r}{kind} can't be rebuilt; known: {', '.join(MODELS)}",
        )
    return MODELS[model]


def _refuse_nameless(fields: Fields, **tokens: list[str | None]) -> None:
    for place, listed in tokens.items():
        if None in listed:
            raise refusal(
                fields, f"the tokenizer puts a token {place} in every text, but the file names none"
            )


def _post_processor(
    rebuilt: Rebuilt, before: Iterable[str | None], after: Iterable[str | None]
) -> Any:
    around = [token for token in (*before, *after) if token is not None]
    if not around:
        return rebuilt.post_processor
    numbers = [(token, rebuilt.tokenizer.token_to_id(token)) for token in dict.fromkeys(around)]
    template = processors.TemplateProcessing(single=[*before, "$A", *after], special_tokens=numbers)
    if rebuilt.post_processor is None:
        return template
    return processors.Sequence([rebuilt.post_processor, template])
