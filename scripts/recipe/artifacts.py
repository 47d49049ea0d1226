"""The part of a recipe that names artefacts: choosing their formats, checking their paths."""

from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel, ValidationError

from scripts.backends.format import Format, ModelKind, all_formats
from scripts.recipe.kinds import refused_of_encoder
from scripts.recipe.problems import Document, KeyPath, listed, unknown

_RESERVED = ("SHA256SUMS", "QUANTISATION-REPORT.md", "charts", "report.html")
_NOT_IN_NAMES = "=:*?[]\\<>|\"'`$"
_EXAMPLE = "{format: gguf, type: q4_0}"
# Old spellings by key and value, None for any value; `{}` is that value.
_RENAMED: dict[tuple[str, str | None], str] = {
    ("method", "weight-only"): "method: rtn",
    ("rounding", "nearest"): "method: rtn",
    ("rounding", "llama.cpp"): "method: rtn",
    ("rounding", None): "method: {}",
    ("on_misfit", None): "on_unsupported: {}",
}


def _allowed_keys(model: type[BaseModel], path: KeyPath) -> list[str]:
    for part in path:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        model = inner
    return list(model.model_fields)


def _sentence(error: Any, model: type[BaseModel], path: KeyPath) -> str:
    """One of pydantic's errors in words: what was found, what is allowed."""
    value, kind = error["input"], error["type"]
    if kind == "extra_forbidden":
        renamed = _renamed(path[-1], value)
        return renamed or unknown("key", path[-1], _allowed_keys(model, path[:-1]))
    if kind == "missing":
        return "is missing"
    if kind == "literal_error":
        field = model.model_fields.get(str(path[-1]))
        allowed = getattr(field.annotation, "__args__", ()) if field else ()
        return unknown(str(path[-1]), value, allowed)
    if kind == "string_pattern_mismatch" and path[-1] == "sha256":
        return f"found {value!r}; a SHA-256 is 64 lower-case hexadecimal digits"
    if kind in ("byte_size", "byte_size_unit"):
        return f"found {value!r}; write a size, such as 8GiB or 98MB"
    return f"found {value!r}; {error['msg'][0].lower()}{error['msg'][1:]}"


def report_invalid(
    error: ValidationError, model: type[BaseModel], prefix: KeyPath, document: Document
) -> None:
    """Report pydantic's errors below `prefix`."""
    for detail in error.errors():
        path = tuple(detail["loc"])
        document.report((*prefix, *path), _sentence(detail, model, path))


def _renamed(key: object, value: object) -> str | None:
    """What an old spelling is now, if it is one."""
    now = _RENAMED.get((str(key), str(value))) or _RENAMED.get((str(key), None))
    return now and f"`{key}: {value}` is now `{now.format(value)}`"


def _choose(
    entry: dict[str, Any], where: KeyPath, document: Document, model: ModelKind
) -> type[Format] | None:
    """The format that an artefact's line selects; None where the selection is wrong."""
    candidates = all_formats(model)
    if model == "encoder" and (text := refused_of_encoder(entry, candidates)):
        document.report(where, text)
        return None
    so_far = ""
    chosen: list[str] = []
    while keys := [key for kind in candidates for key in kind.selector() if key not in chosen]:
        key = keys[0]
        values = {kind: kind.selector().get(key, ()) for kind in candidates}
        allowed = list(dict.fromkeys(one for some in values.values() for one in some))
        if key not in entry:
            document.report((*where, key), f"is missing{so_far}; allowed: {listed(allowed)}")
            return None
        value = entry[key]
        candidates = [kind for kind in candidates if value in values[kind]]
        if not candidates:
            text = _renamed(key, value) or unknown(f"{key}{so_far}", value, allowed)
            document.report((*where, key), text)
            return None
        chosen.append(key)
        so_far = " for " + " with ".join(f"{name} {entry[name]}" for name in chosen)
    return candidates[0]


def _bad_name(name: str, format: type[Format], others: list[str]) -> str | None:
    """What is wrong with the path of an artefact below `quantized/`, if anything."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        return f"{name!r} leaves the folder `quantized/`; give a path below it"
    if str(path) != name or name in (".", ""):
        return f"write the path {name!r} in its plain form, {str(path)!r}"
    if any(part.startswith(".") for part in path.parts) or path.parts[0] in _RESERVED:
        return f"{name!r} is a name that quantmake uses itself; choose another"
    if not name.isprintable() or any(character in name for character in _NOT_IN_NAMES):
        return (
            f"{name!r} holds a character that can't be printed, or one of "
            f"{' '.join(_NOT_IN_NAMES)}; choose another name"
        )
    if format.suffix and path.suffix != format.suffix:
        end = format.suffix
        return f"this format is one file; its name ends in {end}, such as {name}{end}"
    if not format.suffix and path.suffix in {one.suffix for one in all_formats()} - {""}:
        return f"this format is a folder; a name that ends in {path.suffix} is for a file's format"
    inside = [other for other in others if other != name and path.is_relative_to(other)]
    if inside:
        return f"{name!r} lies inside the artefact {inside[0]!r}; two artefacts can't share a path"
    if others.count(name) > 1:
        return f"two artefacts have the path {name!r}; rename one"
    return None


def read_artifacts(document: Document, model: ModelKind = "decoder") -> dict[str, Format]:
    """The artefacts by path, with their options' defaults filled in; reports what is wrong."""
    entries = document.data.get("artifacts")
    if not isinstance(entries, dict) or not entries:
        text = f"is missing or empty; name at least one artefact, such as `model.gguf: {_EXAMPLE}`"
        document.report(("artifacts",), text)
        return {}
    names = [str(PurePosixPath(str(name))) for name in entries]
    artifacts: dict[str, Format] = {}
    for name, entry in zip(map(str, entries), entries.values(), strict=True):
        where: KeyPath = ("artifacts", name)
        if not isinstance(entry, dict):
            text = f"found {entry!r}; write the format and its options, such as {_EXAMPLE}"
            document.report(where, text)
        elif chosen := _choose(entry, where, document, model):
            if bad := _bad_name(name, chosen, names):
                document.report(where, bad)
            try:
                artifacts[name] = chosen.model_validate(entry)
            except ValidationError as error:
                report_invalid(error, chosen, where, document)
    return artifacts
