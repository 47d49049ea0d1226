"""A small project on the engine, in a folder of its own: a copy of the engine, toy stages."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

TOY_STAGES = '''
"""Toy stages."""
import os, subprocess, sys, time
from pathlib import Path
from scripts.toy_words import JOINER
from scripts.errors import MachineError, QuantmakeError
from scripts.forecast import Forecast
from scripts.stage import Stage


GRANDCHILD = """
import os, time
from scripts.lean import start_lean
start_lean()
open("pid.txt", "w").write(str(os.getpid()))
time.sleep(60)
"""


class Words(Stage):
    """Write a text"""
    text: str = "hello"
    packages = ("pydantic",)

    def uses(self):
        return ("pydantic", *(["nowhere-runtime"] if self.text == "exotic" else []))

    def forecast(self, inputs, target):
        disk = 10**18 if self.text == "endless" else 5
        return Forecast(1 << 20, disk, about=2 << 30 if self.text == "big" else 1 << 20)

    def run(self, inputs, out):
        (out / "words.txt").write_text(self.text.lower())
        _leave_trace("words")


class Joined(Stage):
    """Join texts"""
    trouble: str = ""
    suffix = ".txt"

    def is_settled(self, target):
        return not target.is_file() or "failed" not in target.read_text()

    def forecast(self, inputs, target):
        return Forecast(max(said.about for said in inputs.values()), 11)

    def refusal(self, inputs):
        return "the words are too odd; write others" if self.trouble == "odd" else ""

    def alternatives(self, inputs, target, memory):
        return [f"join them by hand, which fits into {memory >> 20} MiB"]

    def run(self, inputs, out):
        _leave_trace("joined")
        out.write_text("half")
        if self.trouble == "error":
            raise QuantmakeError("the tensor blk.0 is not finite; mend it")
        if self.trouble == "machine":
            raise MachineError("there is no compiler; install one")
        if self.trouble == "crash":
            raise RuntimeError("boom")
        if self.trouble == "kill":
            os.kill(os.getpid(), 9)
        if self.trouble == "secret":
            print("token is", os.environ["HF_TOKEN"], "at https://user:pass@example.org/x")
        if self.trouble == "edit":
            with open("scripts/toy_words.py", "a") as file:
                file.write("EDITED = True")
        if self.trouble == "resume":
            kept = Path(os.environ["QUANTMAKE_CHECKPOINTS"])
            kept.mkdir(parents=True, exist_ok=True)
            if not (kept / "half").exists():
                (kept / "half").touch()
                os.kill(os.getpid(), 9)
        if self.trouble == "environment":
            out.write_text(os.environ.get("OMP_WAIT_POLICY", "as usual"))
            return
        if self.trouble == "pause":
            time.sleep(4)
        if self.trouble == "edit input":
            (inputs["first"] / "words.txt").write_text("other words")
        if self.trouble == "grandchild":
            subprocess.run([sys.executable, "-c", GRANDCHILD])
        if self.trouble == "slow":
            with open("pid.txt", "w") as file:
                file.write(str(os.getpid()))
            time.sleep(60)
        if self.trouble == "drift":
            out.write_text(str(time.time_ns()))
            return
        text = JOINER.join((p / "words.txt").read_text() for p in inputs.values())
        out.write_text("failed" if self.trouble == "unsettled" else text)


class Verdict:
    """Rejects the joined text while a file says so"""
    verdict = Path("cache/a")

    def rejected(self):
        return {Path("out/joined.txt")} if Path("reject").exists() else set()

    def complaint(self):
        return "joined.txt is over its budget" if self.rejected() else ""


def _leave_trace(name):
    with open("trace.txt", "a") as file:
        file.write(name + " ")
'''

TOY_DODO = '''
from pathlib import Path
import json
from scripts.engine.commands.run import settings
from scripts.engine.store.lock import LockFile
from scripts.engine.session import Limit
from scripts.engine.graph.tasks import build, listing, publish
from scripts.toy_stages import Joined, Verdict, Words

TOY = json.loads(Path("toy.json").read_text())


def limits(task):
    allowed = TOY.get("max_memory")
    return Limit(allowed, "toy.json") if allowed and task == "joined" else None


DOIT_CONFIG = settings(["checksums", "copy"], limits)
LOCK = LockFile(Path("toy.lock"))


def task_words():
    """Write texts"""
    for name in ("a", "b"):
        yield build(f"words:{name}", Path("cache") / name, Words(text=TOY[name]))


def task_joined():
    """Join them"""
    yield build(
        "joined", Path("out/joined.txt"), Joined(trouble=TOY["trouble"]), lock=LOCK,
        first=Path("cache/a"), second=Path("cache/b"),
    )


def task_checksums():
    """Digests"""
    yield listing("checksums", Path("out/SHA256SUMS"), [Path("out/joined.txt")], LOCK, Verdict())


def task_copy():
    """A copy"""
    yield publish("copy", Path("cache/a"), Path(), judge=Verdict())
'''


@dataclass
class Project:
    """A project in `folder`; `doit` runs in it as a person would run it."""

    folder: Path

    def settings(self, a: str = "Hello", b: str = "world", trouble: str = "") -> None:
        """Write the file that plays the recipe."""
        text = f'{{"a": "{a}", "b": "{b}", "trouble": "{trouble}"}}'
        (self.folder / "toy.json").write_text(text)

    def environment(self, **extra: str) -> dict[str, str]:
        """The environment of a `doit` in this project."""
        return {**os.environ, "PYTHONPATH": str(self.folder), **extra}

    def doit(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `doit ARGUMENTS` to its end."""
        return self.python("-m", "doit", *arguments, **environment)

    def python(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `python ARGUMENTS` to its end."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def ran_pid(self) -> str:
        """The process of the slow stage that runs."""
        for _ in range(200):
            text = (self.folder / "pid.txt").read_text() if self.has_pid() else ""
            if text:
                return text
            time.sleep(0.05)
        raise AssertionError("no slow stage runs")

    def has_pid(self) -> bool:
        """Whether a slow stage has started."""
        return (self.folder / "pid.txt").exists()

    def ran(self) -> list[str]:
        """The stages that ran since the last call."""
        trace = self.folder / "trace.txt"
        names = trace.read_text().split() if trace.exists() else []
        trace.unlink(missing_ok=True)
        return names


def make_project(folder: Path) -> Project:
    """Copy the engine into `folder` and add the toy stages and their graph."""
    scripts = folder / "scripts"
    shutil.copytree(
        ROOT / "scripts" / "engine", scripts / "engine", ignore=shutil.ignore_patterns("__pyc*")
    )
    for module in (ROOT / "scripts").glob("*.py"):
        shutil.copy(module, scripts)
    shutil.copy(ROOT / "pyproject.toml", folder)
    (scripts / "toy_words.py").write_text('"""Words."""\nJOINER = " "\n')
    (scripts / "toy_stages.py").write_text(TOY_STAGES)
    (folder / "dodo.py").write_text(TOY_DODO)
    project = Project(folder)
    project.settings()
    return project
