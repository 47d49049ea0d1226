"""With --continue, what reports goes on without what failed, and says so once."""

from pathlib import Path

import pytest

from tests.engine.project import Project, make_project

STAGES = '''

class Told(Stage):
    """Tell of a text, or why there is none"""
    why: str = ""
    suffix = ".txt"

    def run(self, inputs, out):
        _leave_trace("told")
        out.write_text(self.why or inputs["text"].read_text())

    def without(self, missing):
        return self.model_copy(update={"why": missing["text"]})


class Summary(Stage):
    """Sum up"""
    suffix = ".txt"

    def run(self, inputs, out):
        _leave_trace("summary")
        out.write_text(", ".join(inputs[name].read_text() for name in sorted(inputs)))
'''
DODO = '''

from scripts.toy_stages import Summary, Told

DOIT_CONFIG = settings(["copy", "summary"], limits, ("summary",))


def task_told():
    """Tell"""
    yield build("told", Path("cache/told.txt"), Told(), text=Path("out/joined.txt"))


def task_summary():
    """Sum up"""
    inputs = {"told": Path("cache/told.txt")}
    yield build("summary", Path("out/summary.txt"), Summary(), **inputs)
'''


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = make_project(tmp_path)
    for name, more in (("scripts/toy_stages.py", STAGES), ("dodo.py", DODO)):
        path = made.folder / name
        path.write_text(path.read_text() + more)
    return made


def test_summary_is_written_without_what_failed(project: Project) -> None:
    project.settings(trouble="error")
    done = project.doit("--continue")
    assert done.returncode == 1
    text = (project.folder / "out/summary.txt").read_text()
    assert text.startswith("the tensor blk.0 is not finite; mend it")
    said = done.stdout
    assert said.count("the tensor blk.0 is not finite; mend it") == 1
    assert "Not done, since they need what failed: told, summary." in said
    assert "summary: written without what failed." in said
    assert project.ran().count("joined") == 1
    # Once it can be made, nothing of that is left.
    project.settings()
    assert project.doit().returncode == 0
    assert (project.folder / "out/summary.txt").read_text() == "hello world"


def test_old_target_does_not_pass_for_the_one_that_failed(project: Project) -> None:
    assert project.doit().returncode == 0
    project.settings(a="Bye", trouble="error")
    assert project.doit("--continue").returncode == 1
    assert (project.folder / "out/joined.txt").read_text() == "hello world"
    assert "not finite" in (project.folder / "out/summary.txt").read_text()


def test_what_can_do_without_nothing_is_left_out(project: Project) -> None:
    """The summary needs what told gives; where that can't do without, there is no second run."""
    stages = project.folder / "scripts/toy_stages.py"
    stages.write_text(stages.read_text().replace("    def without(", "    def nothing("))
    project.settings(trouble="error")
    done = project.doit("--continue")
    assert done.returncode == 1
    assert "written without" not in done.stdout
    assert not (project.folder / "out/summary.txt").exists()


def test_without_continue_nothing_more_runs(project: Project) -> None:
    project.settings(trouble="error")
    done = project.doit()
    assert done.returncode == 1
    assert "written without" not in done.stdout


@pytest.mark.parametrize("order", [("--continue", "summary"), ("summary", "--continue")])
def test_options_may_stand_after_the_tasks(project: Project, order: tuple[str, str]) -> None:
    project.settings(trouble="error")
    done = project.doit(*order)
    assert done.returncode == 1
    assert (project.folder / "out/summary.txt").exists()
    wrong = project.doit("summary", "--kontinue")
    assert wrong.returncode == 2
    assert "--kontinue" in wrong.stderr
