"""What `doit demo` serves: the page, the JavaScript of npm's packages, and the artefact."""

import json
import pkgutil
from pathlib import Path

from scripts.backends.site import Layout, Part
from scripts.backends.table import BACKENDS
from scripts.demo import web
from scripts.demo.packages import ONNXRUNTIME, TRANSFORMERS, fetched, refuse_without_npm
from scripts.demo.server import Files
from scripts.errors import QuantmakeError, RecipeError
from scripts.recipe.problems import listed
from scripts.recipe.recipe import Recipe, Row

_HOME = Path(str(web.__file__)).parent
_PAGE = ("index.html", "page.js", "style.css", "worker.js")


def site_of(recipe: Recipe, row: Row) -> Files:
    """The files by the paths of their addresses.

    Raises RecipeError for an artefact that no browser runs, QuantmakeError for one that is not
    built, MachineError where npm is missing; all before anything is fetched.
    """
    refuse_other_runtimes(recipe, row)
    if not row.path.exists():
        raise QuantmakeError(f"{row.path} is not built yet; run `doit {row.path}` first")
    refuse_without_npm(TRANSFORMERS, ONNXRUNTIME)
    layout_of = pkgutil.resolve_name(BACKENDS[row.backend].site)
    layout: Layout = layout_of(row.path, recipe.node("base") / "generation_config.json")
    packages = [fetched(one) / path for one in (TRANSFORMERS, ONNXRUNTIME) for path in one.files]
    about = {
        "model": recipe.title,
        "name": row.name,
        "label": row.label,
        "bytes": layout.bytes,
        "dtype": layout.dtype,
    }
    return {
        **{f"/{name}": whole(_HOME / name) for name in _PAGE},
        **{f"/npm/{path.name}": whole(path) for path in packages},
        **{f"/artefact/{name}": content for name, content in layout.files.items()},
        "/about.json": json.dumps(about).encode(),
    }


def refuse_other_runtimes(recipe: Recipe, row: Row) -> None:
    """Raises RecipeError for an artefact that no browser runs; it names those that one does."""
    if BACKENDS[row.backend].site:
        return
    formats = listed(name for name, one in BACKENDS.items() if one.site)
    fit = listed(one.name for one in recipe.rows() if BACKENDS[one.backend].site)
    raise RecipeError(
        f"{row.name} is {row.label}, which does not run in a browser. Artefacts with these formats "
        f"do: {formats}; in {recipe.path} there are of them: {fit or 'none'}"
    )


def whole(path: Path) -> Part:
    """All of a file."""
    return Part(path, 0, path.stat().st_size)
