"""What tasks will need: shown by `doit plan`, refused at once where it can't fit."""

import json
from pathlib import Path

import pytest

from scripts.engine.build.action import Action
from scripts.engine.build.record import read_record
from scripts.engine.run.forecasts import Need, gib, need_of
from scripts.evaluation.timings import TimeAll
from tests.engine.project import Project, make_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A toy project, nothing built."""
    return make_project(tmp_path)


def test_plan_shows_what_each_task_needs_before_anything_is_built(project: Project) -> None:
    project.settings(a="big")
    lines = project.doit("plan").stdout.splitlines()
    assert lines[lines.index("  joined") + 2] == "      about 2.0 GiB of memory"
    assert lines[lines.index("  words:a") + 2] == "      about 1 MiB of memory"
    assert lines[-1] == "5 will run, 0 may. About 2.0 GiB of memory. 3 were never built here."


def test_what_was_measured_counts_where_the_same_is_built_again(project: Project) -> None:
    assert project.doit().returncode == 0
    built = read_record(project.folder / "out/joined.txt")
    assert built is not None
    assert 1 << 20 < built.memory < 1 << 30
    (project.folder / "scripts/toy_words.py").write_text('"""Words."""\nJOINER = "-"\n')
    assert f"{gib(built.memory)} of memory" in project.doit("plan").stdout


@pytest.mark.parametrize("arguments", [("--max-memory", "1GiB"), ("-n", "2", "--max-memory", "1G")])
def test_task_that_cannot_fit_is_refused_before_anything_runs(
    project: Project, arguments: tuple[str, ...]
) -> None:
    project.settings(a="big")
    done = project.doit(*arguments)
    assert done.returncode == 3
    assert "joined needs about 2.0 GiB of memory, and --max-memory allows 1.0 GiB." in done.stdout
    assert "  Instead: join them by hand, which fits into 1024 MiB" in done.stdout
    assert "Nothing was built." in done.stdout
    assert project.ran() == []
    assert not (project.folder / "cache/a").exists()


def test_task_whose_package_is_not_installed_is_refused_before_anything_runs(
    project: Project,
) -> None:
    project.settings(b="exotic")
    pyproject = project.folder / "pyproject.toml"
    text = pyproject.read_text().replace("dask = [", 'odd = ["nowhere-runtime==1.0"]\ndask = [')
    pyproject.write_text(text)
    refused = (
        "nowhere-runtime, which is not installed, is needed by words:b.\n"
        "Install it with python3.11 -m scripts.setup --extra odd and run doit again."
    )
    assert refused in project.doit("plan").stdout
    done = project.doit()
    assert done.returncode == 3
    assert refused in done.stdout
    assert project.ran() == []
    assert project.doit("words:a").returncode == 0


def test_what_a_models_sizes_rule_out_is_refused_before_anything_runs(project: Project) -> None:
    project.settings(trouble="odd")
    done = project.doit()
    assert done.returncode == 2
    assert "joined: the words are too odd; write others\nNothing was built." in done.stdout
    assert project.ran() == []
    assert project.doit("words").returncode == 0


def test_recipe_limits_its_own_tasks_and_the_command_line_wins(project: Project) -> None:
    toy = {"a": "big", "b": "world", "trouble": "", "max_memory": 1 << 30}
    (project.folder / "toy.json").write_text(json.dumps(toy))
    refused = "joined needs about 2.0 GiB of memory, and toy.json allows 1.0 GiB."
    assert refused in project.doit("plan").stdout
    done = project.doit()
    assert done.returncode == 3
    assert refused in done.stdout
    assert project.doit("--max-memory", "3GiB").returncode == 0


def test_only_what_was_asked_for_has_to_fit(project: Project) -> None:
    project.settings(a="big")
    assert project.doit("--max-memory", "1GiB", "words").returncode == 0
    assert project.ran() == ["words", "words"]


def test_what_is_up_to_date_need_not_fit(project: Project) -> None:
    project.settings(a="big")
    assert project.doit().returncode == 0
    assert project.doit("--max-memory", "1GiB").returncode == 0


def test_run_that_would_fill_the_disk_is_refused(project: Project) -> None:
    project.settings(b="endless")
    done = project.doit()
    assert done.returncode == 3
    assert "no room left on the disk: 3 tasks are to run and write about" in done.stdout
    assert project.ran() == []


def test_machine_itself_is_the_limit_where_nothing_else_is(project: Project) -> None:
    text = (project.folder / "scripts/toy_stages.py").read_text().replace("2 << 30", "1 << 50")
    (project.folder / "scripts/toy_stages.py").write_text(text)
    project.settings(a="big")
    done = project.doit()
    assert done.returncode == 3
    assert "of memory, and this machine allows" in done.stdout


def test_stage_that_leaves_out_what_does_not_fit_is_never_refused(tmp_path: Path) -> None:
    assert need_of(Action(TimeAll(rows={}), {}, tmp_path / "x")) == Need(None, None)
