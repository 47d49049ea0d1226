"""What the documents say is there: commands and their options, modules, files, links."""

import importlib
import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from doit.cmd_list import List

import dodo
from tests.checkout import ROOT

DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))
    if path.name != "QUANTISATION-REPORT.md"
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCES = [*ROOT.glob("*.py"), *ROOT.glob("scripts/**/*.py"), *ROOT.glob("tests/**/*.py")]
TASKS = {name.removeprefix("task_") for name in vars(dodo) if name.startswith("task_")}


def text_of(name: str) -> str:
    """A document as it is committed."""
    return (ROOT / name).read_text(encoding="utf-8")


def commands() -> dict[str, Any]:
    """The class of each command that documents may name; `run` is that of a plain `doit`."""
    plugins = PROJECT["tool"]["doit"]["plugins"]["command"]
    places = {name: place.partition(":") for name, place in plugins.items()}
    ours = {name: getattr(importlib.import_module(m), c) for name, (m, _, c) in places.items()}
    return {"list": List, **ours}


def named_commands() -> list[str]:
    """Everything in backticks or in a block of code that starts with `doit`."""
    found = set()
    for name in DOCUMENTS:
        text = text_of(name)
        found.update(re.findall(r"(?:`|^|/)(doit(?: [^`\n&]*)?)(?:`|$)", text, re.MULTILINE))
    return sorted(found)


@pytest.mark.parametrize("line", named_commands())
def test_command_and_its_options_are_there(line: str) -> None:
    _, *words = line.split()
    known = commands()
    first = next((word for word in words if not word.startswith("-")), "")
    command = first if first in known else "run"
    options = {option["long"] for option in known[command].cmd_options if option.get("long")}
    named = re.findall(r"--([a-z][a-z-]*)", line)
    assert [name for name in named if name not in options] == []
    if command == "run" and words and not words[0].startswith("-"):
        targets = {re.split("[:@]", word)[0] for word in words if not word.startswith("-")}
        assert [
            one for one in targets if one not in TASKS and not one.startswith("quantized/")
        ] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_modules_and_files_are_there(name: str) -> None:
    text = text_of(name)
    modules = re.findall(r"python(?:3\.11)? -m (scripts[\w.]*)", text)
    assert [one for one in modules if importlib.util.find_spec(one) is None] == []
    files = re.findall(r"`((?:scripts|tests|docs|recipes)/[a-z_\d./-]+\.\w+)`", text)
    assert [one for one in files if not (ROOT / one).is_file()] == []
    short = re.findall(r"`((?:[a-z_\d]+/)*[a-z_\d]+\.py)`", text)
    assert [one for one in short if not any(path.match(one) for path in SOURCES)] == []


def test_extras_are_those_of_the_project() -> None:
    extras = {*PROJECT["project"]["optional-dependencies"], *PROJECT["dependency-groups"]}
    named = {one for name in DOCUMENTS for one in re.findall(r"--extra ([\w-]+)", text_of(name))}
    assert named <= extras


def anchors(page: Path) -> set[str]:
    """What GitHub names the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    folder = (ROOT / name).parent
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(name)):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        page = folder / path if path else ROOT / name
        assert page.exists(), link
        assert not anchor or anchor in anchors(page), link


@pytest.mark.parametrize("name", [*DOCUMENTS, "QUANTISATION-REPORT.md"])
def test_no_folder_of_a_machine_is_named(name: str) -> None:
    assert re.findall(r"(?<![\w.])/(?:tmp|home|root|work|Users)/\S*", text_of(name)) == []
