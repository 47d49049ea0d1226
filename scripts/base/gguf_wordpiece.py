"""WordPiece, BERT's way: the longest token that fits, from the left, within each word."""

from gguf import TokenType
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from scripts.base.gguf_vocabulary import SPECIAL, Rebuilt, Vocabulary

_IDS = {"bos": 101, "unk": 100, "sep": 102, "pad": 0, "mask": 103}
_BEGIN, _INNER = "▁", "##"
_NO_LIMIT = 1 << 30


def word_pieces(vocabulary: Vocabulary) -> Rebuilt:
    """GGUF marks the first piece of a word, Hugging Face the others."""
    whole = vocabulary.of_types(*SPECIAL, TokenType.USER_DEFINED)
    numbers = {
        _renamed(token, token in whole): number for token, number in vocabulary.numbers().items()
    }
    unknown = vocabulary.token("tokenizer.ggml.unknown_token_id", _IDS["unk"])
    pieces = Tokenizer(
        models.WordPiece(numbers, unk_token=unknown, max_input_chars_per_word=_NO_LIMIT)
    )
    lowercase = vocabulary.flag("tokenizer.ggml.normalizer.lowercase", True)
    pieces.normalizer = normalizers.BertNormalizer(
        lowercase=lowercase,
        strip_accents=vocabulary.flag("tokenizer.ggml.normalizer.strip_accents", lowercase),
    )
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.decoder = decoders.WordPiece(_INNER)
    pieces.add_tokens(vocabulary.added())
    return Rebuilt(pieces, add_bos=True, add_eos=True, ids=_IDS, is_encoder=True)


def _renamed(token: str, is_whole: bool) -> str:
    if is_whole:
        return token
    return token.removeprefix(_BEGIN) if token.startswith(_BEGIN) else _INNER + token
