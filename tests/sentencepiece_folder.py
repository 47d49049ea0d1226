"""Tokenizers of SentencePiece as a Hugging Face folder has them: tokenizer.json alone."""

import io
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


def _converted(model: bytes, *, gemma: bool) -> Any:
    """As published folders have it: what transformers 4 made of such a model."""
    from sentencepiece import sentencepiece_model_pb2
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers.convert_slow_tokenizer import generate_merges

    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model)
    pieces = [piece.piece for piece in proto.pieces]
    if gemma and "\t" not in pieces:
        pieces[pieces.index("<0x09>")] = "\t"
    vocab = {piece: number for number, piece in enumerate(pieces)}
    scores = {piece: one.score for piece, one in zip(pieces, proto.pieces, strict=True)}
    bpe = models.BPE(
        vocab, generate_merges(vocab, scores), unk_token="<unk>", fuse_unk=True, byte_fallback=True
    )
    made = Tokenizer(bpe)
    made.add_tokens(
        [
            AddedToken(piece.piece, normalized=False, special=piece.type == 3)
            for piece in proto.pieces
            if piece.type in (3, 4)  # control symbols, and those that a user has defined
        ]
    )
    spaces = normalizers.Replace(" ", "▁")
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if gemma:
        made.normalizer = spaces
        made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    else:
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces])
        parts.append(decoders.Strip(" ", 1))
    made.decoder = decoders.Sequence(parts)
    return made


def sentencepiece_tokenizer(size: int, *, gemma: bool) -> Any:
    """A tokenizer of transformers made of a model that SentencePiece has learnt."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=_converted(sentencepiece_model(size, gemma=gemma), gemma=gemma),
        unk_token="<unk>",
        bos_token="<bos>" if gemma else "<s>",
        eos_token="<eos>" if gemma else "</s>",
        pad_token="<pad>" if gemma else "</s>",
        additional_special_tokens=_TURNS,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
