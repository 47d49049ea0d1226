"""The workflows of docs/ci.md work as they stand, as real linters see them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.checkout import ROOT

PAGE = (ROOT / "docs" / "ci.md").read_text()
GITHUB, GITLAB = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def lint(name: str, *arguments: str) -> None:
    program = Path(sys.executable).with_name(name)
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    file = tmp_path / ".github/workflows/artefacts.yml"
    file.parent.mkdir(parents=True)
    file.write_text(GITHUB)
    return file


def test_github_workflow_fits_the_schema(workflow: Path) -> None:
    lint("check-jsonschema", "--builtin-schema", "vendor.github-workflows", str(workflow))


def test_github_workflow_has_none_of_the_known_weaknesses(workflow: Path) -> None:
    """Unpinned actions, credentials that persist, permissions too wide, injected text, …"""
    lint("zizmor", "--offline", "--no-config", "--persona", "pedantic", str(workflow))


def test_gitlab_pipeline_fits_the_schema(tmp_path: Path) -> None:
    (tmp_path / ".gitlab-ci.yml").write_text(GITLAB)
    lint(
        "check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", str(tmp_path / ".gitlab-ci.yml")
    )


def test_commands_are_those_of_the_project() -> None:
    """What the pages call is there: modules, extras, commands of doit."""
    steps = yaml.safe_load(GITHUB)["jobs"]["build"]["steps"]
    ran = "\n".join(step.get("run", "") for step in steps)
    ran += "\n".join(yaml.safe_load(GITLAB)["artefacts"]["before_script"])
    ran += "\n".join(yaml.safe_load(GITLAB)["artefacts"]["script"])
    project = (ROOT / "pyproject.toml").read_text()
    for command in re.findall(r"\.venv/bin/doit (\w+)", ran):
        assert f'\n{command} = "scripts.' in project, command
    for extra in re.findall(r"scripts\.setup --extra (\w+)", ran):
        assert f"\n{extra} = [" in project, extra
    assert ran.count(".venv/bin/doit --locked") == 2


def test_containers_have_one_base_by_its_digest() -> None:
    base = re.search(
        r"^FROM (\S+@sha256:[0-9a-f]{64})$", (ROOT / "Containerfile").read_text(), re.M
    )
    assert base is not None
    assert yaml.safe_load(GITLAB)["artefacts"]["image"] == base[1]
