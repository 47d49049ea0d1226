"""A shell whose locale is not UTF-8 builds the same graph."""

import os
import subprocess
import sys

from scripts.engine.build.sources import ROOT


def test_a_locale_without_utf8_changes_nothing() -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "doit", "list"],
        cwd=ROOT,
        env={**os.environ, **ascii_only},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "report" in done.stdout
