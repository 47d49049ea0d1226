"""Read the recipes; report every mistake of a file at once, before anything is done."""

import sys
import tomllib
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from scripts.errors import QuantmakeError, RecipeError
from scripts.recipe.artifacts import dotted, problems_of, read_artifacts
from scripts.recipe.model import Header
from scripts.recipe.problems import Problem, listed, nearest, refuse, unknown
from scripts.recipe.recipe import Recipe
from scripts.recipe.yaml_lines import Document, KeyPath, read_yaml
from scripts.sources.redact import carries_secret, redact
from scripts.sources.schemes import check_source

FOLDER = Path("recipes")
_TOP_KEYS = (*Header.model_fields, "artifacts")


def _check_sources(header: Header, document: Document) -> list[Problem]:
    problems = []
    parts: list[tuple[KeyPath, str, Any]] = [
        (("model",), "source", header.model),
        (("calibration",), "text", header.calibration),
        (("evaluation",), "text", header.evaluation),
        *(
            (("evaluation", "tasks", name), "source", task)
            for name, task in header.evaluation.tasks.items()
        ),
    ]
    for section, key, part in parts:
        source = getattr(part, key)
        where = (*section, key)
        try:
            check_source(source)
            _refuse_secret(source)
        except QuantmakeError as error:
            problems.append(Problem(document.line(where), dotted(where), str(error)))
            continue
        if part.sha256 is None and not source.startswith("hf:"):
            text = "is missing: every source but hf: is pinned by its SHA-256"
            problems.append(Problem(document.line(section), dotted((*section, "sha256")), text))
    return problems


def _check_budgets(header: Header, document: Document) -> list[Problem]:
    """A budget is of an artefact that the recipe builds."""
    entries = document.data.get("artifacts")
    artifacts = list(map(str, entries)) if isinstance(entries, dict) else list(header.budgets)
    return [
        Problem(document.line(where), dotted(where), unknown("artefact", name, artifacts))
        for name in header.budgets
        if name not in artifacts
        for where in [("budgets", name)]
    ]


def _refuse_secret(source: str) -> None:
    """A recipe is committed, and what it names goes into manifests and reports."""
    if carries_secret(source):
        raise RecipeError(
            f"the URL {redact(source)} carries a password, a signature or a token. Take it out of "
            "the recipe: ~/.netrc serves https, and each fsspec file system reads credentials "
            "from its own environment variables or files; or fetch the file and name it as path:"
        )


def _check_texts(header: Header, document: Document) -> list[Problem]:
    problems = []
    for section in ("calibration", "evaluation"):
        first, end = getattr(header, section).lines
        if first >= end:
            where = (section, "lines")
            text = f"found [{first}, {end}], which holds no line; the first is less than the second"
            problems.append(Problem(document.line(where), dotted(where), text))
    one, two = header.calibration, header.evaluation
    if one.tokens < one.context:
        where = ("calibration", "tokens")
        text = f"found {one.tokens}; one window needs {one.context} tokens (`context`)"
        problems.append(Problem(document.line(where), dotted(where), text))
    same_text = one.text == two.text or (one.sha256 is not None and one.sha256 == two.sha256)
    overlap = range(max(one.lines[0], two.lines[0]), min(one.lines[1], two.lines[1]))
    if same_text and overlap:
        text = (
            f"lines {overlap.start} to {overlap.stop} of the text are in calibration.lines and in "
            "evaluation.lines; an artefact must not be measured on what it was calibrated with"
        )
        problems.append(Problem(document.line(("calibration", "lines")), "calibration.lines", text))
    return problems


def load_recipe(path: Path, *, is_default: bool) -> Recipe:
    """Read and check one recipe; raises RecipeError that lists every mistake in it."""
    document = read_yaml(path)
    refuse(path, document.problems if document.data is None else [])
    if not isinstance(document.data, dict):
        refuse(path, [Problem(1, "", f"a recipe is a mapping with the keys {listed(_TOP_KEYS)}")])
    problems = list(document.problems)
    rest = {key: value for key, value in document.data.items() if key in Header.model_fields}
    for key in document.data:
        if key not in _TOP_KEYS:
            text = unknown("key", str(key), _TOP_KEYS)
            problems.append(Problem(document.line((str(key),)), str(key), text))
    header = None
    try:
        header = Header.model_validate(rest)
    except ValidationError as error:
        problems += problems_of(error, Header, (), document)
    artifacts = read_artifacts(document, problems)
    if header is not None:
        problems += _check_sources(header, document) + _check_texts(header, document)
        problems += _check_budgets(header, document)
    refuse(path, problems)
    assert header is not None
    return Recipe(path.stem, path, header, artifacts, is_default)


def default_name(project: Path = Path("pyproject.toml")) -> str:
    """The default recipe's name, from `[tool.quantmake]` of pyproject.toml."""
    try:
        settings = tomllib.loads(project.read_text())["tool"]["quantmake"]
        return str(settings["recipe"])
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(
            f'{project} names no default recipe ({error}); add `recipe = "NAME"` under '
            "[tool.quantmake]"
        ) from None


def load_all(folder: Path = FOLDER) -> list[Recipe]:
    """Every recipe of the folder, the default one first; raises RecipeError with all mistakes."""
    name = default_name()
    paths = sorted(folder.glob("*.yaml"))
    if name not in [path.stem for path in paths]:
        near = nearest(name, [path.stem for path in paths])
        raise RecipeError(
            f"pyproject.toml names the default recipe {name!r}, but there is no "
            f"{folder / name}.yaml{near}"
        )
    recipes, texts = [], []
    for path in sorted(paths, key=lambda path: path.stem != name):
        try:
            recipes.append(load_recipe(path, is_default=path.stem == name))
        except RecipeError as error:
            texts.append(str(error))
    if texts:
        raise RecipeError("\n".join(texts))
    for other in recipes[1:]:
        if any(PurePosixPath(one).parts[0] == other.name for one in recipes[0].artifacts):
            raise RecipeError(
                f"{recipes[0].path} has an artefact at quantized/{other.name}, which is the folder "
                f"of {other.path}; rename the artefact or the recipe"
            )
    return recipes


def load_or_exit() -> list[Recipe]:
    """As `load_all`; a mistake is printed and ends the process with exit code 2."""
    try:
        return load_all()
    except RecipeError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
