"""Which files of a Hugging Face folder a build needs, by name."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from scripts.errors import QuantmakeError

_EXACT = {
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "generation_config.json",
    "merges.txt",
    "model.safetensors.index.json",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
}
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
        pickled = [name for name in top if name.endswith(_PICKLED)]
        if pickled:
            raise QuantmakeError(pickles_refused(where, pickled))
        ggufs = [name for name in top if name.endswith(".gguf")]
        hint = f" Name one GGUF file instead: {', '.join(ggufs)}." if ggufs else ""
        raise QuantmakeError(
            f"{where} holds no model: there is no .safetensors file in its top folder "
            f"(found {', '.join(top) or 'nothing'}).{hint}"
        )
    wanted = {name for name in top if name in _EXACT or _LICENCE.fullmatch(name)}
    if code:
        wanted |= {name for name in top if name.endswith(".py")}
    return sorted(wanted | set(weights))


def pickles_refused(where: str, pickled: list[str]) -> str:
    """Why weights in pickles are not opened, and what to do."""
    return (
        f"{where} has its weights in pickles only ({', '.join(pickled)}), which are refused: "
        "opening a pickle runs whatever code it holds. Use a revision or a conversion of the "
        "model in safetensors or GGUF."
    )


def _weights(top: list[str]) -> list[str]:
    found = [name for name in top if name.endswith(".safetensors")]
    if "model.safetensors" in found:
        return ["model.safetensors", *filter(_SHARD.fullmatch, found)]
    # Adapters and Mistral's own layout may lie beside the weights that transformers reads.
    return [n for n in found if not n.startswith(("consolidated", "adapter_"))]
