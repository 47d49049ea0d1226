"""Packages that the default install leaves out, and the one command that installs them.

`[project.optional-dependencies]` of pyproject.toml is the one place that says which extra has which
package, and `[dependency-groups]` which package has an environment of its own. Python's own library
is all that this needs, since `scripts.setup` asks it too.
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
EVERYTHING = "test"
"""The extra that has all others, and the environments."""
TOOLS = ("exporters",)
"""Groups of pyproject.toml whose environment is made when something needs it: tools that run by
themselves, whose packages are of other versions than the same ones here."""
_SETUP = "python3.11 -m scripts.setup"


@cache
def extras(project: Path = PROJECT) -> dict[str, tuple[str, ...]]:
    """By name the distributions of each extra; that of the tests, which has most others, last."""
    optional = tomllib.loads(project.read_text())["project"].get("optional-dependencies", {})
    named = {one: tuple(map(_distribution, wanted)) for one, wanted in optional.items()}
    return dict(sorted(named.items(), key=lambda item: item[0] == EVERYTHING))


def _distribution(requirement: str) -> str:
    name: str = re.split(r"[\[=<>~!; ]", requirement, maxsplit=1)[0]
    return name


@cache
def environments(project: Path = PROJECT) -> dict[str, tuple[str, ...]]:
    """By name the requirements of each environment beside `.venv`: a dependency group (PEP 735) of
    pyproject.toml, for what can't be installed together with the rest. Without those of `TOOLS`."""
    return {name: wanted for name, wanted in groups(project).items() if name not in TOOLS}


@cache
def groups(project: Path = PROJECT) -> dict[str, tuple[str, ...]]:
    """All of them."""
    given = tomllib.loads(project.read_text()).get("dependency-groups", {})
    return {name: tuple(wanted) for name, wanted in given.items()}


def environment_folder(name: str, beside: Path = Path(sys.prefix)) -> Path:
    """Where an environment lies, such as `.venv-mlx`: beside the one that runs this."""
    return beside.with_name(f"{beside.name}-{name}")


def environment_python(name: str) -> Path:
    """The interpreter of an environment; raises ImportError where it is not set up."""
    lacks = missing(map(_distribution, environments()[name]))
    if lacks:
        raise ImportError(f"{environment_folder(name).name} has no {', '.join(lacks)}")
    return environment_folder(name) / "bin" / "python"


@cache
def version_of(package: str) -> str:
    """Of a distribution, in the environment that has it; raises PackageNotFoundError."""
    for name, wanted in environments().items():
        if package in map(_distribution, wanted):
            places = map(str, environment_folder(name).glob("lib/python*/site-packages"))
            for one in metadata.distributions(name=package, path=list(places)):
                return one.version
            raise metadata.PackageNotFoundError(package)
    return metadata.version(package)


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
    """The one command that installs the distributions, with each extra that has some of them where
    no extra before it has these."""
    left = set(packages)
    apart = {name: map(_distribution, given) for name, given in environments().items()}
    chosen = []
    for name, has in {**apart, **extras()}.items():
        if found := left & set(has):
            chosen.append(name)
            left -= found
    return " ".join([_SETUP, *(f"--extra {name}" for name in chosen)])
