"""An edit that Python's own check of compiled files can't see is seen."""

import os
from pathlib import Path

from tests.engine.project import make_project


def test_an_edit_of_equal_size_within_the_second_runs_the_new_code(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    assert project.doit().returncode == 0
    module = project.folder / "scripts/toy_words.py"
    before = module.stat()
    text = module.read_text()
    assert 'JOINER = " "' in text
    module.write_text(text.replace('JOINER = " "', 'JOINER = "-"'))
    os.utime(module, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert project.doit().returncode == 0
    assert (project.folder / "out/joined.txt").read_text() == "hello-world"
