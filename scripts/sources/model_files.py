"""Which files of a Hugging Face folder a build needs, by name."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from scripts.errors import QuantmakeError
from scripts.tensors.shards import INDEX

TOKENIZERS = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("spiece.model",),
    ("sentencepiece.bpe.model",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
)
_OF_TOKENIZER = {
    *(name for names in TOKENIZERS for name in names),
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
}
_OF_MODEL = {"config.json", "generation_config.json", INDEX}
_LICENCE = re.compile(r"(LICEN[CS]E|NOTICE)([.-].*)?", re.IGNORECASE)
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def needed_files(names: Iterable[str], where: str, *, code: bool = False) -> list[str]:
    """The names that a build needs, sorted: safetensors, configuration, tokenizer, licence.

    Only the top folder counts. `code` asks for the repository's Python files too. Raises
    QuantmakeError where there are no safetensors, and says so where there are pickles instead.
    """
    top = sorted(name for name in names if len(PurePosixPath(name).parts) == 1)
    weights = _weights(top)
    if not weights:
        refuse_pickles(where, top)
        ggufs = [name for name in top if name.endswith(".gguf")]
        hint = f" Name one GGUF file instead: {', '.join(ggufs)}." if ggufs else ""
        raise QuantmakeError(
            f"{where} holds no model: there is no .safetensors file in its top folder "
            f"(found {', '.join(top) or 'nothing'}).{hint}"
        )
    others = (name for name in top if name in _OF_MODEL or is_kept(name, code=code))
    return sorted({*weights, *others})


def is_kept(name: str, *, code: bool) -> bool:
    """Whether a file stays beside the weights as it is: of the tokenizer, a licence, or `code`."""
    is_text = name in _OF_TOKENIZER or _LICENCE.fullmatch(name) is not None
    return is_text or (code and name.endswith(".py"))


def refuse_pickles(where: str, names: list[str]) -> None:
    """Raise QuantmakeError that says why weights in pickles are not opened, if there are any."""
    pickled = [name for name in names if name.endswith(_PICKLED)]
    if pickled:
        raise QuantmakeError(
            f"{where} has its weights in pickles only ({', '.join(pickled)}), which are refused: "
            "opening a pickle runs whatever code it holds. Use a revision or a conversion of the "
            "model in safetensors or GGUF."
        )


def _weights(top: list[str]) -> list[str]:
    shards = [name for name in top if name.endswith(".safetensors")]
    if "model.safetensors" in shards:
        return ["model.safetensors", *filter(_SHARD.fullmatch, shards)]
    # Adapters and Mistral's own layout may lie beside the weights that transformers reads.
    return [n for n in shards if not n.startswith(("consolidated", "adapter_"))]
