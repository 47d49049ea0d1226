"""The part of a recipe that names artefacts: choosing their formats, checking their paths."""

from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel, ValidationError

from scripts.backends.format import Format, all_formats
from scripts.recipe.problems import Problem, listed, unknown
from scripts.recipe.yaml_lines import Document, KeyPath

_RESERVED = ("SHA256SUMS", "QUANTISATION-REPORT.md", "charts", "report.html")
_EXAMPLE = "{format: gguf, type: q4_0}"
# Old spellings by key and value, None for any value; `{}` is that value.
_RENAMED: dict[tuple[str, str | None], str] = {
    ("method", "weight-only"): "method: rtn",
    ("rounding", "nearest"): "method: rtn",
    ("rounding", "llama.cpp"): "method: rtn",
    ("rounding", None): "method: {}",
    ("on_misfit", None): "on_unsupported: {}",
}


def dotted(path: KeyPath) -> str:
    """A key path as people write it: `artifacts.model-int8.method`."""
    return ".".join(map(str, path))


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


def problems_of(
    error: ValidationError, model: type[BaseModel], prefix: KeyPath, document: Document
) -> list[Problem]:
    """pydantic's errors below `prefix`, each with its line in the file."""
    problems = []
    for detail in error.errors():
        path = tuple(part for part in detail["loc"])
        where = (*prefix, *path)
        text = _sentence(detail, model, path)
        problems.append(Problem(document.line(where), dotted(where), text))
    return problems


def _values(kind: type[Format], key: str) -> tuple[object, ...]:
    return kind.selector().get(key, ())


def _renamed(key: object, value: object) -> str | None:
    """What an old spelling is now, if it is one."""
    now = _RENAMED.get((str(key), str(value))) or _RENAMED.get((str(key), None))
    return now and f"`{key}: {value}` is now `{now.format(value)}`"


def _choose(entry: dict[str, Any]) -> type[Format] | Problem:
    """The format that an artefact's line selects, or what is wrong with the selection."""
    candidates = all_formats()
    chosen: list[str] = []
    while True:
        keys = [key for kind in candidates for key in kind.selector() if key not in chosen]
        if not keys:
            return candidates[0]
        key = keys[0]
        allowed = list(dict.fromkeys(one for kind in candidates for one in _values(kind, key)))
        so_far = " with ".join(f"{name} {entry[name]}" for name in chosen)
        if key not in entry:
            text = f"is missing{' for ' + so_far if so_far else ''}; allowed: {listed(allowed)}"
            return Problem(0, key, text)
        matching = [kind for kind in candidates if entry[key] in _values(kind, key)]
        if not matching:
            what = f"{key}{' for ' + so_far if so_far else ''}"
            text = _renamed(key, entry[key]) or unknown(what, entry[key], allowed)
            return Problem(0, key, text)
        candidates = matching
        chosen.append(key)


def _bad_name(name: str, format: type[Format], others: list[str]) -> str | None:
    """What is wrong with the path of an artefact below `quantized/`, if anything."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        return f"{name!r} leaves the folder `quantized/`; give a path below it"
    if str(path) != name or name in (".", ""):
        return f"write the path {name!r} in its plain form, {str(path)!r}"
    if any(part.startswith(".") for part in path.parts) or path.parts[0] in _RESERVED:
        return f"{name!r} is a name that quantmake uses itself; choose another"
    if any(character in name for character in "=:*?[]\\"):
        return f"{name!r} holds one of the characters = : * ? [ ] \\; choose another name"
    if format.suffix and path.suffix != format.suffix:
        end = format.suffix
        return f"this format is one file; its name ends in {end}, such as {name}{end}"
    if not format.suffix and path.suffix in {one.suffix for one in all_formats()} - {""}:
        return f"this format is a folder; a name that ends in {path.suffix} is for a file's format"
    inside = [other for other in others if other != name and path.is_relative_to(other)]
    if inside:
        return f"{name!r} lies inside the artefact {inside[0]!r}; two artefacts can't share a path"
    return None


def read_artifacts(document: Document, problems: list[Problem]) -> dict[str, Format]:
    """The artefacts by path, with their options' defaults filled in; adds to `problems`."""
    entries = document.data.get("artifacts")
    if not isinstance(entries, dict) or not entries:
        text = f"is missing or empty; name at least one artefact, such as `model.gguf: {_EXAMPLE}`"
        problems.append(Problem(document.line(("artifacts",)), "artifacts", text))
        return {}
    names = [str(PurePosixPath(str(name))) for name in entries]
    artifacts: dict[str, Format] = {}
    for name, entry in entries.items():
        where: KeyPath = ("artifacts", str(name))
        line = document.line(where)
        if not isinstance(entry, dict):
            text = f"found {entry!r}; write the format and its options, such as {_EXAMPLE}"
            problems.append(Problem(line, dotted(where), text))
            continue
        chosen = _choose(entry)
        if isinstance(chosen, Problem):
            key = (*where, chosen.key)
            problems.append(Problem(document.line(key), dotted(key), chosen.text))
            continue
        bad = _bad_name(str(name), chosen, names)
        if not bad and names.count(str(PurePosixPath(str(name)))) > 1:
            bad = f"two artefacts have the path {str(PurePosixPath(str(name)))!r}; rename one"
        if bad:
            problems.append(Problem(line, dotted(where), bad))
        try:
            artifacts[str(name)] = chosen.model_validate(entry)
        except ValidationError as error:
            problems += problems_of(error, chosen, where, document)
    return artifacts
