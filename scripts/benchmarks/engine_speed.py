"""What the build engine itself costs: a no-op over many tasks, and its share of a real build.

    python -m scripts.benchmarks.engine_speed [--tasks 2000] [--gigabytes 10] [--build]

The no-op runs in a made-up project whose targets are there already: once with small ones, once
with sparse files of `--gigabytes` in all, in turn. `--build` builds the default recipe in a copy
of this checkout and compares the time of its stages' processes with that of the whole `doit`.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from scripts.benchmarks.measure import FIGURES, figures, in_turn, table
from scripts.engine.build.record import read_record
from scripts.engine.build.sources import ROOT

_STAGE = '''
from scripts.stage import Stage


class Made(Stage):
    """Stand for a stage"""
    number: int
'''
_DODO = '''
"""A made-up graph: pairs of tasks, the second made from the first."""
from pathlib import Path

from scripts.engine.commands.run import settings
from scripts.engine.graph.tasks import build
from scripts.made_up import Made

DOIT_CONFIG = settings(default_tasks=["second"])


def task_first():
    """Make the firsts"""
    for number in range(PAIRS):
        yield build(f"first:{{number}}", Path("out") / f"first{{number}}.bin", Made(number=number))


def task_second():
    """Make the seconds"""
    for number in range(PAIRS):
        first, second = (Path(f"out/{{name}}{{number}}.bin") for name in ("first", "second"))
        yield build(f"second:{{number}}", second, Made(number=number), x=first)


PAIRS = {pairs}
'''
_FILL = '''
"""Write all targets, their manifests and records, as if they had been built."""
import sys
from pathlib import Path

import dodo
from scripts.engine.store.files import write_atomically
from scripts.engine.store.manifest import make_manifest, manifest_path
from scripts.engine.build.record import Cost, write_record

Path("out").mkdir()
for task in [*dodo.task_first(), *dodo.task_second()]:
    action = task["uptodate"][0].action
    with action.target.open("wb") as file:
        file.write(action.target.name.encode())
        file.truncate(int(sys.argv[1]))
    manifest = make_manifest(action.target)
    write_atomically(manifest_path(action.target), manifest.to_json())
    write_record(action.target, action.key(), action.parts(), manifest, Cost())
'''


def make_project(folder: Path, tasks: int, size: int) -> Path:
    """A project of `tasks` tasks, each target `size` bytes (sparse), all built."""
    shutil.copytree(ROOT / "scripts/engine", folder / "scripts/engine")
    for module in (ROOT / "scripts").glob("*.py"):
        shutil.copy(module, folder / "scripts")
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "scripts/made_up.py").write_text(_STAGE)
    (folder / "dodo.py").write_text(_DODO.format(pairs=tasks // 2))
    (folder / "fill.py").write_text(_FILL)
    run(folder, "fill.py", str(size))
    run(folder, "-m", "doit")
    return folder


def run(folder: Path, *arguments: str) -> float:
    """Seconds of `python ARGUMENTS` in a project; raises CalledProcessError where it fails."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - started


def no_op(tasks: int, gigabytes: float, repeats: int) -> Table:
    """Time a `doit` with nothing to do, on small and on large targets, in turn."""
    with tempfile.TemporaryDirectory(prefix="engine-speed-") as scratch:
        small = make_project(Path(scratch) / "small", tasks, 100)
        large = make_project(Path(scratch) / "large", tasks, int(gigabytes * 1e9 / tasks))
        projects = {"small": small, f"{gigabytes:g} GB (sparse)": large}
        arms = {name: partial(run, folder, "-m", "doit") for name, folder in projects.items()}
        times = in_turn(arms, repeats)
    title = f"`doit` with nothing to do, {tasks:,} tasks, seconds"
    rows = ((name, *figures(seconds, 2)) for name, seconds in times.items())
    return table(title, ("targets", *FIGURES), rows)


def share_of_a_build() -> Table:
    """Build the default recipe from nothing; the engine's share is what no stage's process took."""
    with tempfile.TemporaryDirectory(prefix="engine-speed-") as scratch:
        folder = Path(scratch) / "checkout"
        for name in ("scripts", "recipes"):
            shutil.copytree(ROOT / name, folder / name)
        for name in ("dodo.py", "pyproject.toml"):
            shutil.copy(ROOT / name, folder)
        whole = run(folder, "-m", "doit")
        records = [path.parent.parent / path.stem for path in folder.rglob(".manifests/*.action")]
        stages = sum(built.seconds for path in records if (built := read_record(path)))
    engine = whole - stages
    row = (f"{whole:.1f}", f"{stages:.1f}", f"{engine:.1f}", f"{100 * engine / whole:.2f}")
    columns = ("doit, s", "stages, s", "engine, s", "engine, %")
    return table("The default recipe from nothing", columns, [row])


def main(given: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m scripts.benchmarks.engine_speed")
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--gigabytes", type=float, default=10)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--build", action="store_true", help="also build the default recipe")
    arguments = parser.parse_args(given)
    console = Console()
    console.print(no_op(arguments.tasks, arguments.gigabytes, arguments.repeats))
    if arguments.build:
        console.print(share_of_a_build())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
