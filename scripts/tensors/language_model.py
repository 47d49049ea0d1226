"""Which tensors of a checkpoint that reads pictures or sound too are its language model's."""

from collections.abc import Iterable, Mapping

HEAD = "lm_head.weight"
_EMBEDDING = "embed_tokens.weight"
_PARTS = ("language_model.", "text_model.")  # what holds the language model, in a name


def language_tensors(stored: Iterable[str]) -> Mapping[str, str]:
    """By the name that the language model has alone, what the whole checkpoint calls a tensor;
    empty where no part of it is marked as the language model."""
    names = list(stored)
    prefixes = {
        name.removesuffix(_EMBEDDING)
        for name in names
        if name.endswith(_EMBEDDING) and any(part in name for part in _PARTS)
    }
    if len(prefixes) != 1:
        return {}
    [prefix] = prefixes
    kept = {f"model.{name.removeprefix(prefix)}": name for name in names if name.startswith(prefix)}
    heads = [n for n in names if n == HEAD or any(n.endswith(part + HEAD) for part in _PARTS)]
    return {**kept, HEAD: heads[0]} if heads else kept
