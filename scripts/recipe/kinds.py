"""What a recipe of an encoder may not say, and what can be had instead."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from scripts.backends.format import Format, all_formats
from scripts.recipe.problems import Document, listed

if TYPE_CHECKING:
    from scripts.recipe.model import Header

# Keys that say nothing of the other kind of model, by section.
_OF_DECODERS = {
    "model": ("off_grid", "trust_remote_code"),
    "calibration": ("tokens", "context"),
    "evaluation": ("windows", "context", "prompts", "tasks"),
}
_OF_ENCODERS = {"calibration": ("sentences",), "evaluation": ("sentences",)}
_LIMITS_OF_ENCODERS = ("min_cosine", "min_cosine_p01", "min_spearman", "min_sentences_speedup")
_LIMITS_OF_DECODERS = (
    *("max_kld", "min_top1", "max_perplexity_ratio"),
    *("min_prefill_speedup", "min_decode_speedup"),
)


def refused_of_encoder(entry: dict[str, Any], formats: Sequence[type[Format]]) -> str:
    """Why an artefact's line, which is right for a decoder, makes nothing of an encoder; empty
    where it is none of a decoder's, or one of an encoder's too."""
    if own := next((one for one in formats if _selects(entry, one)), None):
        return own.unsupported(entry)
    if not any(_selects(entry, one) for one in all_formats("decoder")):
        return ""
    chosen = ", ".join(
        f"{key}: {entry[key]}" for key in ("format", "bits", "method") if key in entry
    )
    return f"{{{chosen}}} can't be made of an encoder; there are {listed(_choices(formats))}"


def _selects(entry: dict[str, Any], kind: type[Format]) -> bool:
    return all(entry.get(key) in values for key, values in kind.selector().items())


def _choices(formats: Sequence[type[Format]]) -> list[str]:
    """As they would be written."""
    return [
        "{" + ", ".join(f"{key}: {value}" for key, value in one.items()) + "}"
        for kind in formats
        for one in kind.selections()
    ]


def check_kind(header: "Header", document: Document) -> None:
    """Report keys and limits that say nothing of this kind of model."""
    is_encoder = header.model.kind == "encoder"
    where, why = (
        (_OF_DECODERS, "says nothing of an encoder (`kind: encoder`)")
        if is_encoder
        else (_OF_ENCODERS, "says nothing of a decoder; it is of `kind: encoder` under `model`")
    )
    for section, keys in where.items():
        said = getattr(header, section).model_fields_set
        for key in keys:
            if key in said:
                document.report((section, key), f"{why}; leave it out")
    if is_encoder and header.device != "cpu":
        document.report(("device",), f"found {header.device!r}; encoders are measured on the cpu")
    other = _LIMITS_OF_DECODERS if is_encoder else _LIMITS_OF_ENCODERS
    kind = "an encoder" if is_encoder else "a decoder"
    own = _LIMITS_OF_ENCODERS if is_encoder else _LIMITS_OF_DECODERS
    for name, budget in header.budgets.items():
        for limit in budget.limits():
            if limit in other:
                text = f"is not measured of {kind}; there are {listed(own)}, and limits of size"
                document.report(("budgets", name, limit), text)
