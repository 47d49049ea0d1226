"""Packages that the default install leaves out, and the one command that installs them.

`[project.optional-dependencies]` of pyproject.toml is the one place that says which extra has which
package. Python's own library is all that this needs, since `scripts.setup` asks it too.
"""

import re
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

IN_NO_KEY = "it says what to install; the versions of packages are in keys by themselves"

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
_SETUP = "python3.11 -m scripts.setup"


@cache
def extras(project: Path = PROJECT) -> dict[str, tuple[str, ...]]:
    """By name the distributions of each extra; that of the tests, which has most others, last."""
    optional = tomllib.loads(project.read_text())["project"].get("optional-dependencies", {})
    named = {one: tuple(map(_distribution, wanted)) for one, wanted in optional.items()}
    return dict(sorted(named.items(), key=lambda item: item[0] == "test"))


def _distribution(requirement: str) -> str:
    name: str = re.split(r"[\[=<>~!; ]", requirement, maxsplit=1)[0]
    return name


def missing(packages: Iterable[str]) -> list[str]:
    """Those of the distributions that are not installed."""
    return [one for one in packages if not _is_installed(one)]


@cache
def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def command_for(packages: Iterable[str]) -> str:
    """The command that installs the distributions, with the extra that has one of them."""
    wanted = set(packages)
    extra = next((name for name, has in extras().items() if wanted & set(has)), None)
    return f"{_SETUP} --extra {extra}" if extra else _SETUP
