"""`doit plan`, `doit why` and `doit verify`, in a real project."""

import re
from pathlib import Path

import pytest

from tests.engine.project import Project, make_project


@pytest.fixture
def built(tmp_path: Path) -> Project:
    """A toy project, all built."""
    project = make_project(tmp_path)
    assert project.doit().returncode == 0
    project.ran()
    return project


def test_plan_before_the_first_build(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    done = project.doit("plan")
    assert done.returncode == 0, done.stderr
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert lines[0] == "words:a"
    assert lines[1] == "will run: it was never built here, or its last build did not end"
    assert lines[-1].startswith("5 will run, 0 may.")
    assert project.ran() == []


def test_plan_tells_will_from_may(built: Project) -> None:
    built.settings(b="moon")
    lines = built.doit("plan").stdout.splitlines()
    told = [re.sub(r"\d+(\.\d+)?", "N", line) for line in lines[:-1]]
    assert told == [
        "  words:b",
        "      will run: option text: world → moon",
        "      about N s, N MiB of memory",
        "  joined",
        "      may run, if its input changes: words:b",
        "      about N s, N MiB of memory",
        "  checksums",
        "      may run, if its input changes: joined",
    ]
    assert re.fullmatch(
        r"1 will run, 2 may. About \d\.\d s as last time, \d+ MiB of memory\.",
        lines[-1],
    )
    assert built.ran() == []


def test_plan_with_nothing_to_do(built: Project) -> None:
    assert built.doit("plan").stdout == "Nothing would run.\n"


def test_why_names_old_and_new(built: Project) -> None:
    built.settings(trouble="none")
    (built.folder / "scripts/toy_words.py").write_text('"""Words."""\nJOINER = "-"\n')
    lines = built.doit("why", "out/joined.txt").stdout.splitlines()
    assert lines[0] == "words:a (needed by joined)"
    assert "  option trouble:  → none" in lines
    assert any(line.startswith("  source text of scripts.toy_words: ") for line in lines)


def test_why_of_a_damaged_target(built: Project) -> None:
    (built.folder / "out/joined.txt").write_text("?")
    assert built.doit("why", "joined").stdout == (
        "joined\n  out/joined.txt is missing or not what its manifest says\n"
    )


def test_why_of_what_is_current_and_of_nothing(built: Project) -> None:
    assert built.doit("why", "cache/a/").stdout == "words:a is up to date.\n"
    assert built.doit("why").returncode != 0


def test_verify_finds_faults_and_deep_verify_finds_flipped_bits(built: Project) -> None:
    done = built.doit("verify")
    assert (done.returncode, done.stdout) == (
        0,
        "3 targets compared with their manifests (names and sizes): all as built.\n",
    )
    words = built.folder / "cache/a/words.txt"
    words.write_text("jello")
    assert built.doit("verify").returncode == 0
    deep = built.doit("verify", "--deep")
    assert deep.returncode == 1
    assert deep.stdout.startswith("cache/a/words.txt: has SHA-256 ")
    words.write_text("")
    assert "cache/a/words.txt: has 0 bytes, not 5" in built.doit("verify").stdout
    words.unlink()
    assert "cache/a/words.txt: is missing" in built.doit("verify").stdout
