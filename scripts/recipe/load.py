"""Read the recipes; report every mistake of a file at once, before anything is done."""

import sys
import tomllib
from itertools import product
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from scripts.errors import QuantmakeError, RecipeError
from scripts.recipe.artifacts import read_artifacts, report_invalid
from scripts.recipe.kinds import check_kind
from scripts.recipe.model import Header
from scripts.recipe.problems import Document, listed, nearest, read_yaml, refusal, unknown
from scripts.recipe.recipe import Recipe
from scripts.sources.fetch import Fetch
from scripts.sources.redact import carries_secret, redact
from scripts.sources.schemes import check_source
from scripts.utf8 import begin_anew_in_utf8

FOLDER = Path("recipes")
_TOP_KEYS = (*Header.model_fields, "artifacts")


def _check_sources(header: Header, document: Document) -> None:
    for where, fetch in header.sources().items():
        try:
            check_source(fetch.source)
            _refuse_secret(fetch.source)
        except QuantmakeError as error:
            document.report(where, str(error))
            continue
        if is_unpinned(fetch):
            text = (
                "is missing: every source but hf: is pinned by its SHA-256; `doit pin "
                f"{document.name}` fetches it and writes the digest"
            )
            document.report((*where[:-1], "sha256"), text)


def is_unpinned(fetch: Fetch) -> bool:
    """Whether a source needs a digest and has none: a commit pins what comes from a hub."""
    return fetch.sha256 is None and not fetch.source.startswith("hf:")


def _refuse_secret(source: str) -> None:
    """A recipe is committed, and what it names goes into manifests and reports."""
    if carries_secret(source):
        raise RecipeError(
            f"the URL {redact(source)} carries a password, a signature or a token. Take it out of "
            "the recipe: ~/.netrc serves https, and each fsspec file system reads credentials "
            "from its own environment variables or files; or fetch the file and name it as path:"
        )


def _check_budgets(header: Header, document: Document) -> None:
    """A budget is of an artefact that the recipe builds."""
    entries = document.data.get("artifacts")
    artifacts = list(map(str, entries)) if isinstance(entries, dict) else list(header.budgets)
    for name in header.budgets:
        if name not in artifacts:
            document.report(("budgets", name), unknown("artefact", name, artifacts))


def _check_texts(header: Header, document: Document) -> None:
    calibration, on = header.calibration, header.evaluation
    learnt, scored = header.passages("calibration"), header.passages("evaluation")
    for section, found in (learnt | scored).items():
        first, end = found.lines
        if first >= end:
            text = f"found [{first}, {end}], which holds no line; the first is less than the second"
            document.report((*section, "lines"), text)
    for section, found in learnt.items():
        tokens = getattr(found, "tokens", None)
        if tokens is None and header.model.kind == "decoder":
            document.report((*section, "tokens"), "is missing")
        elif tokens is not None and tokens < calibration.context:
            text = f"found {tokens}; one window needs {calibration.context} tokens (`context`)"
            document.report((*section, "tokens"), text)
    if on.kind in on.others:
        text = f"is the kind of `evaluation.text` too; two texts of the evaluation are {on.kind}"
        document.report(("evaluation", "others", on.kind), text)
    for (section, one), (where, two) in product(learnt.items(), scored.items()):
        same_text = one.text == two.text or (one.sha256 is not None and one.sha256 == two.sha256)
        overlap = range(max(one.lines[0], two.lines[0]), min(one.lines[1], two.lines[1]))
        if same_text and overlap:
            both = " and in ".join(
                f"{'.'.join(map(str, place))}.lines" for place in (section, where)
            )
            text = (
                f"lines {overlap.start} to {overlap.stop} of the text are in {both}; an artefact "
                "must not be measured on what it was calibrated with"
            )
            document.report((*section, "lines"), text)


def load_recipe(path: Path, *, is_default: bool) -> Recipe:
    """Read and check one recipe; raises RecipeError that lists every mistake in it."""
    document = read_yaml(path)
    if not isinstance(document.data, dict):
        text = f"a recipe is a mapping with the keys {listed(_TOP_KEYS)}"
        raise refusal(path, {(1, "", text)})
    for key in document.data:
        if key not in _TOP_KEYS:
            document.report((str(key),), unknown("key", str(key), _TOP_KEYS))
    model = document.data.get("model")
    is_encoder = isinstance(model, dict) and model.get("kind") == "encoder"
    artifacts = read_artifacts(document, "encoder" if is_encoder else "decoder")
    sections = {key: value for key, value in document.data.items() if key in Header.model_fields}
    try:
        header = Header.model_validate(sections)
    except ValidationError as error:
        report_invalid(error, Header, (), document)
        raise refusal(path, document.problems) from None
    for check in (_check_sources, _check_texts, _check_budgets, check_kind):
        check(header, document)
    if document.problems:
        raise refusal(path, document.problems)
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
    paths = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    if name not in paths:
        raise RecipeError(
            f"pyproject.toml names the default recipe {name!r}, but there is no "
            f"{folder / name}.yaml{nearest(name, paths)}"
        )
    recipes, texts = [], []
    for stem in sorted(paths, key=lambda stem: stem != name):
        try:
            recipes.append(load_recipe(paths[stem], is_default=stem == name))
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
    """As `load_all`, in UTF-8; a mistake is printed and ends the process with exit code 2."""
    begin_anew_in_utf8()
    try:
        return load_all()
    except RecipeError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
