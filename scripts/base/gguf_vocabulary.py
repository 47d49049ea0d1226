"""The vocabulary of a GGUF file, which every kind of tokenizer is rebuilt from."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gguf import TokenType
from tokenizers import AddedToken, Tokenizer

from scripts.errors import QuantmakeError
from scripts.tensors.gguf_fields import Fields

SPECIAL = (TokenType.CONTROL, TokenType.UNKNOWN)
_RIGHT_STRIPPED = ("phi-3", "phi3")  # in general.name
_NOT_STRIPPED = ("<unk>", "<s>", "<|endoftext|>")


@dataclass(frozen=True)
class Rebuilt:
    """A tokenizer, and the tokens that stand before and after a text.

    `ids` are llama.cpp's own special tokens of such a model, where the file names none.
    """

    tokenizer: Tokenizer
    add_bos: bool
    add_eos: bool = False
    post_processor: Any = None
    ids: Mapping[str, int] = field(default_factory=dict)
    is_encoder: bool = False


@dataclass(frozen=True)
class Vocabulary:
    """Tokens and their types by id. An empty token has the text that llama.cpp gives it."""

    fields: Fields
    tokens: list[str]
    types: list[int]

    @classmethod
    def of(cls, fields: Fields) -> "Vocabulary":
        """Raises QuantmakeError where a token stands twice, or types and tokens don't match."""
        listed: list[str] = fields.need("tokenizer.ggml.tokens")
        tokens = [token or f"[EMPTY_{number}]" for number, token in enumerate(listed)]
        types = fields.need("tokenizer.ggml.token_type")
        twice = [token for token, count in Counter(tokens).items() if count > 1]
        if twice:
            raise QuantmakeError(f"{fields.file}: tokens stand twice in the vocabulary: {twice}")
        if len(types) != len(tokens):
            raise QuantmakeError(
                f"{fields.file}: {len(tokens)} tokens, but {len(types)} types of tokens"
            )
        return cls(fields, tokens, types)

    def numbers(self) -> dict[str, int]:
        """By token its id."""
        return {token: number for number, token in enumerate(self.tokens)}

    def of_types(self, *types: TokenType) -> set[str]:
        """The tokens of these types."""
        pairs = zip(self.tokens, self.types, strict=True)
        return {token for token, kind in pairs if kind in types}

    def added(self) -> list[AddedToken]:
        """The tokens that are found before anything else is cut. Control and unknown tokens are
        special; user-defined ones are matched, but are text."""
        name = str(self.fields.get("general.name") or "").lower()
        strips = any(part in name for part in _RIGHT_STRIPPED)
        return [
            AddedToken(
                token,
                special=kind in SPECIAL,
                normalized=False,
                rstrip=strips and token not in _NOT_STRIPPED,
            )
            for token, kind in zip(self.tokens, self.types, strict=True)
            if kind in (*SPECIAL, TokenType.USER_DEFINED)
        ]

    def token(self, key: str, default: int | None = None) -> str | None:
        """The token that the file names by its id, or the one of the default id."""
        number: int | None = self.fields.get(key)
        if number is None:
            known = default is not None and default < len(self.tokens)
            return self.tokens[default] if known and default is not None else None
        if not 0 <= number < len(self.tokens):
            raise QuantmakeError(
                f"{self.fields.file}: {key} is {number}, but the vocabulary has "
                f"{len(self.tokens)} tokens"
            )
        return self.tokens[number]

    def flag(self, key: str, default: bool) -> bool:
        """A field that is true or false."""
        value = self.fields.get(key)
        return default if value is None else bool(value)

    def policy(self, add_bos: bool) -> tuple[bool, bool]:
        """Whether a token stands before and after each text; `add_bos` holds where the file does
        not say."""
        return (
            self.flag("tokenizer.ggml.add_bos_token", add_bos),
            self.flag("tokenizer.ggml.add_eos_token", False),
        )


def refusal(fields: Fields, reason: str) -> QuantmakeError:
    """The error of a tokenizer that can't be rebuilt."""
    return QuantmakeError(
        f"{fields.file}: {reason}. Name the model's Hugging Face folder or repository."
    )
