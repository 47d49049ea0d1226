"""Run one stage: `python -m scripts.exec ACTION.json`, or by hand with its options.

By hand:  python -m scripts.exec scripts.backends.bitsandbytes.format:Bitsandbytes4bit \\
              --in base=FOLDER --out FOLDER format=bitsandbytes block_size=64
An action file holds {"stage", "options", "inputs": {name: path}, "out"}.
Exit codes: 0 done, 1 the stage failed, 2 wrong usage, 3 the machine lacks something.
"""

import argparse
import errno
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from scripts.environment import stage_environment
from scripts.errors import MachineError, QuantmakeError, RecipeError
from scripts.lean import start_lean
from scripts.stage import Stage

MODULES_VARIABLE = "QUANTMAKE_MODULES"
_READY = "QUANTMAKE_ENVIRONMENT"


def load_stage(name: str, options: dict[str, Any]) -> Stage:
    """The stage `module:Class` with its options; raises RecipeError where they do not fit."""
    module, _, cls = name.partition(":")
    try:
        found: type[Stage] = getattr(importlib.import_module(module), cls)
        return found.model_validate(options)
    except (ImportError, AttributeError, ValueError) as error:
        if isinstance(error, ValidationError):
            lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            raise RecipeError(f"{name}: " + "; ".join(lines)) from None
        raise RecipeError(
            f"there is no stage {name!r} ({error}); name it as module:Class"
        ) from None


def run_stage(stage: Stage, inputs: dict[str, Path], out: Path) -> None:
    """Run and check one stage; a full disk becomes a MachineError that names the path."""
    if not stage.suffix:
        out.mkdir(parents=True, exist_ok=True)
    try:
        stage.run(inputs, out)
        _tell_modules(stage)
        stage.check(inputs, out)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise MachineError(
                f"no room left on the disk while writing {out}: {error.strerror}. "
                "Free some space (`cache/` may be deleted at any time) and run doit again."
            ) from error
        raise


def _tell_modules(stage: Stage) -> None:
    """For the tests: which modules of this project the work has loaded, a file for each process."""
    folder = os.environ.get(MODULES_VARIABLE)
    if folder:
        name = f"{type(stage).__module__}:{type(stage).__name__}"
        loaded = sorted(one for one in sys.modules if one.partition(".")[0] == "scripts")
        told = {"stage": name, "options": stage.model_dump(mode="json"), "modules": loaded}
        (Path(folder) / f"{os.getpid()}.json").write_text(json.dumps(told))


def from_command_line(arguments: list[str]) -> tuple[Stage, dict[str, Path], Path]:
    """The stage that `arguments` name, its inputs and where it writes."""
    parser = argparse.ArgumentParser(prog="python -m scripts.exec", description=__doc__)
    parser.add_argument("stage", help="module:Class, or an action file (JSON)")
    parser.add_argument("--in", dest="inputs", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--out", type=Path)
    parser.add_argument("options", nargs="*", metavar="option=value")
    parsed = parser.parse_intermixed_args(arguments)
    if parsed.stage.endswith(".json"):
        action = json.loads(Path(parsed.stage).read_text())
        inputs = {name: Path(path) for name, path in action["inputs"].items()}
        return load_stage(action["stage"], action["options"]), inputs, Path(action["out"])
    if parsed.out is None:
        parser.error("--out is missing: where shall the stage write?")
    pairs = [item.partition("=") for item in parsed.options]
    stage = load_stage(parsed.stage, {key: yaml.safe_load(value) for key, _, value in pairs})
    inputs = {key: Path(value) for key, _, value in (item.partition("=") for item in parsed.inputs)}
    return stage, inputs, parsed.out


def begin_anew_elsewhere(stage: Stage) -> None:
    """Replace this process by one with the environment of stages, where it has another: a shell's
    may change the bytes, or lack what fixes them."""
    wanted = stage_environment(os.environ, canonical=stage.canonical)
    if _READY not in os.environ and wanted != dict(os.environ):
        command = [sys.executable, "-m", "scripts.exec", *sys.argv[1:]]
        os.execve(sys.executable, command, {**wanted, _READY: "1"})


def main(arguments: list[str], before: Callable[[Stage], None] | None = None) -> int:
    """Run the stage that `arguments` name, after `before`; print errors for people, tracebacks for
    bugs."""
    try:
        stage, inputs, out = from_command_line(arguments)
        if before is not None:
            before(stage)
        run_stage(stage, inputs, out)
    except QuantmakeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    start_lean()
    sys.exit(main(sys.argv[1:], begin_anew_elsewhere))
