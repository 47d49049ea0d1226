"""Tokenizers of SentencePiece as a Hugging Face folder has them: tokenizer.json alone."""

import io
import tempfile
from pathlib import Path
from typing import Any

from tests.tiny import CHAT_TEMPLATE, tiny_lines

_TURNS = ["<|im_start|>", "<|im_end|>"]
_GEMMA: dict[str, int | str] = {"pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3}
_GEMMA |= {"bos_piece": "<bos>", "eos_piece": "<eos>"}
_LLAMA = {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1}
_OTHERS = ["我想吃苹果 日本語のテスト 한국어", "🦙🦙🚀 ½ 3.14159 1234567", "a  b    c\t\n\n  ----"]


def sentencepiece_model(size: int, *, gemma: bool) -> bytes:
    """A byte pair encoding that SentencePiece itself has learnt of the tiny language."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*tiny_lines(300), *_OTHERS * 3]),
        model_writer=model,
        model_type="bpe",
        vocab_size=size,
        byte_fallback=True,
        character_coverage=0.99,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        add_dummy_prefix=not gemma,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        control_symbols=_TURNS,
        num_threads=1,
        minloglevel=2,
        **(_GEMMA if gemma else _LLAMA),
    )
    return model.getvalue()


def sentencepiece_tokenizer(size: int, *, gemma: bool) -> Any:
    """transformers' own conversion of it, as published folders have it."""
    from transformers import GemmaTokenizer, LlamaTokenizer, PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import GemmaConverter, LlamaConverter

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.model"
        path.write_bytes(sentencepiece_model(size, gemma=gemma))
        if gemma:
            converted = GemmaConverter(GemmaTokenizer(str(path))).converted()
        else:
            converted = LlamaConverter(LlamaTokenizer(str(path), legacy=True)).converted()
    return PreTrainedTokenizerFast(
        tokenizer_object=converted,
        unk_token="<unk>",
        bos_token="<bos>" if gemma else "<s>",
        eos_token="<eos>" if gemma else "</s>",
        pad_token="<pad>" if gemma else "</s>",
        additional_special_tokens=_TURNS,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
