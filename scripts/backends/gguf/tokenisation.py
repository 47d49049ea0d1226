"""Whether llama.cpp cuts text with a GGUF file as the base's tokenizer does."""

from itertools import zip_longest
from pathlib import Path

_WORDS = (
    "In 1987 the 42nd héron",
    " counted 3.14159 apples,\n\tand 1234567   more.\n\n",
    "我想吃苹果 日本語のテスト 한국어 нещо",
    "🦙🚀 😶‍🌫️ ½ ² don't",
    "if (a_b == 0) { return x+1; }    //  ----------",
)


def difference(gguf: Path, base: Path) -> str:
    """The first text that comes out otherwise, in words, or nothing: digits, emoji, several
    scripts, and each special token between them."""
    import llama_cpp
    from transformers import AutoTokenizer

    published = AutoTokenizer.from_pretrained(base)
    cut = llama_cpp.Llama(str(gguf), vocab_only=True, verbose=False)
    special = [token for token in published.all_special_tokens if token != published.unk_token]
    texts = [*_WORDS, " ".join(_WORDS)]
    texts += [f"{_WORDS[0]}{token}{_WORDS[0]}{token}\n{_WORDS[2]}" for token in special]
    for text in texts:
        wanted = published(text, add_special_tokens=False)["input_ids"]
        got = cut.tokenize(text.encode(), add_bos=False, special=True)
        if wanted != got:
            at = next(n for n, (a, b) in enumerate(zip_longest(wanted, got)) if a != b)
            shown = [published.convert_ids_to_tokens(ids[at : at + 4]) for ids in (wanted, got)]
            return f"{text!r} is {shown[0]} from token {at} on, and {shown[1]} for llama.cpp"
    return ""
