"""From a text to windows of token ids: which lines, which tokens, with which BOS."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.errors import QuantmakeError


def text_file(path: Path) -> Path:
    """The one file of a fetched text, or the file itself."""
    if path.is_file():
        return path
    files = sorted(entry for entry in path.iterdir() if entry.is_file())
    if len(files) != 1:
        raise QuantmakeError(f"{path} holds {len(files)} files; a text source is one file")
    return files[0]


def read_lines(path: Path, lines: tuple[int, int]) -> list[str]:
    """Lines `lines[0]` up to, not including, `lines[1]`, counted from 0, with their newlines.

    Raises QuantmakeError where the text is no UTF-8 or has fewer lines.
    """
    file = text_file(path)
    try:
        with file.open(encoding="utf-8") as text:
            all_lines = text.readlines()
    except UnicodeDecodeError as error:
        raise QuantmakeError(f"{file.name} is not UTF-8 text: {error}") from None
    if len(all_lines) < lines[1]:
        raise QuantmakeError(
            f"{file.name} has {len(all_lines)} lines, but the recipe asks for lines {lines[0]} to "
            f"{lines[1]}; shorten `lines` or name a longer text"
        )
    return all_lines[lines[0] : lines[1]]


def load_tokenizer(base: Path) -> Any:
    """The base's tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(base, local_files_only=True)


def load_decoder(base: Path) -> Any:
    """What has `decode(ids, skip_special_tokens=…)`, to turn a list of token ids into text.

    It is tokenizers' own where transformers would add nothing, which spares each artefact a
    second or two of imports.
    """
    fast, config = base / "tokenizer.json", base / "tokenizer_config.json"
    settings = json.loads(config.read_text("utf-8")) if config.is_file() else {}
    if not fast.is_file() or settings.get("clean_up_tokenization_spaces"):
        return load_tokenizer(base)
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(fast))


def bos_of(tokenizer: Any) -> int | None:
    """The id that this tokenizer puts before every text; None where it puts none."""
    ids = tokenizer("a")["input_ids"]
    starts = tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]
    return int(ids[0]) if starts else None


def cut_windows(
    text: str, tokenizer: Any, *, windows: int, context: int, where: str
) -> NDArray[np.int32]:
    """Token ids [windows, context] from the text's start, without special tokens of its own.

    Where the tokenizer starts texts with BOS, BOS takes the place of each window's first
    token, as in llama.cpp's llama-perplexity. Raises QuantmakeError for a text too short.
    """
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    wanted = windows * context
    if len(ids) < wanted:
        raise QuantmakeError(
            f"{where} is too short: its lines hold {len(ids):,} tokens, but {windows} windows of "
            f"{context} need {wanted:,}. Take more lines or fewer tokens."
        )
    cut = np.array(ids[:wanted], np.int32).reshape(windows, context)
    bos = bos_of(tokenizer)
    if bos is not None:
        cut[:, 0] = bos
    return cut
