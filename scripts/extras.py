"""Packages that the default install leaves out, and the one command that installs them.

`[project.optional-dependencies]` of pyproject.toml is the one place that says which extra has which
package, and `[dependency-groups]` which package has an environment of its own. Python's own library is all that this needs, since `scripts.setup` asks it too.
"""

import re
import sys
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


@cache
def environments(project: Path = PROJECT) -> dict[str, tuple[str, ...]]:
    """By name the distributions of each environment beside `.venv`: a dependency group (PEP 735) of
    pyproject.toml, for what can't be installed together with the rest."""
    groups = tomllib.loads(project.read_text()).get("dependency-groups", {})
    return {one: tuple(map(_distribution, wanted)) for one, wanted in groups.items()}


def environment_folder(name: str) -> Path:
    """Where an environment lies: beside the one that runs this, such as `.venv-mlx`."""
    mine = Path(sys.prefix)
    return mine.with_name(f"{mine.name}-{name}")


def environment_python(name: str) -> Path:
    """The interpreter of an environment; raises ImportError where it is not set up."""
    lacks = missing(environments()[name])
    if lacks:
        raise ImportError(f"{', '.join(lacks)} of {environment_folder(name).name} is not there")
    return environment_folder(name) / "bin" / "python"


@cache
def version_of(package: str) -> str:
    """Of a distribution, in the environment that has it; raises PackageNotFoundError."""
    home = next((name for name, has in environments().items() if package in has), None)
    if home is None:
        return metadata.version(package)
    places = map(str, environment_folder(home).glob("lib/python*/site-packages"))
    for one in metadata.distributions(name=package, path=list(places)):
        return one.version
    raise metadata.PackageNotFoundError(package)


def missing(packages: Iterable[str]) -> list[str]:
    """Those of the distributions that are not installed."""
    return [one for one in packages if not _is_installed(one)]


@cache
def _is_installed(package: str) -> bool:
    try:
        version_of(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def command_for(packages: Iterable[str]) -> str:
    """The command that installs the distributions, with the extra that has one of them."""
    wanted = set(packages)
    offered = {**environments(), **extras()}
    extra = next((name for name, has in offered.items() if wanted & set(has)), None)
    return f"{_SETUP} --extra {extra}" if extra else _SETUP
