"""What tasks will need of the machine: shown by `doit plan`, and refused where it can't fit."""

import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from scripts.engine.build.action import Action
from scripts.engine.build.record import read_record
from scripts.engine.build.status import status
from scripts.engine.session import Limit, session
from scripts.engine.store.manifest import read_manifest
from scripts.errors import MachineError, RecipeError
from scripts.extras import command_for, missing
from scripts.forecast import Forecast

_known: dict[Path, tuple[str, Action]] = {}
_forecasts: dict[Path, Forecast] = {}


@dataclass(frozen=True)
class Need:
    """Bytes of memory and of disk, None where nobody can say."""

    memory: int | None
    disk: int | None


def know(task: str, action: Action) -> None:
    """Take note of which action makes a target."""
    _known[action.target] = task, action
    _forecasts.clear()


def known_action(target: Path) -> Action | None:
    """The action that makes a target; None where no task does."""
    return _known[target][1] if target in _known else None


def forecast_of(target: Path) -> Forecast | None:
    """What the stage that makes `target` says of itself; None where it can't say yet."""
    if target not in _forecasts:
        if target not in _known:
            return None
        _, action = _known[target]
        said = action.stage.forecast(_inputs(action), action.target)
        if said is None:
            return None
        _forecasts[target] = said
    return _forecasts[target]


def _inputs(action: Action) -> dict[str, Forecast | None]:
    return {name: forecast_of(path) for name, path in action.inputs.items()}


def need_of(action: Action) -> Need:
    """As it was measured when the same was last built from the same; else as the stage says.

    A stage that is timed leaves out what does not fit, by itself.
    """
    if not action.stage.reproducible:
        return Need(None, None)
    built, manifest = read_record(action.target), read_manifest(action.target)
    said = forecast_of(action.target)
    measured = built.memory if built is not None and built.memory else None
    size = sum(file.size for file in manifest.files) if manifest else None
    if said is None or (built is not None and _is_same_work(built.parts, action)):
        return Need(
            measured or (said.memory if said else None), size or (said.disk if said else None)
        )
    return Need(said.memory, said.disk)


def _is_same_work(parts: dict[str, object], action: Action) -> bool:
    try:
        now = action.parts()
    except FileNotFoundError:
        return False
    return all(parts.get(kind) == now[kind] for kind in ("stage", "options", "inputs"))


def refuse_what_cannot_fit(tasks: Iterable[str]) -> None:
    """Raise MachineError that names every stale one of `tasks` which needs a package that is not
    installed or more memory than it may have, or where all together write more than the disk has
    room for; RecipeError that names those which the model's own sizes rule out.

    What is made from something stale counts as stale.
    """
    wanted, runs = set(tasks), dict[Path, bool]()
    stale = [t for t, action in _known.values() if t in wanted and _runs(action, runs)]
    ruled_out = [
        f"{task}: {reason}"
        for task, action in _known.values()
        if task in stale and (reason := action.stage.refusal(_inputs(action)))
    ]
    if ruled_out:
        raise RecipeError("\n".join([*ruled_out, "Nothing was built."]))
    texts = refusals(stale)
    if texts:
        raise MachineError("\n".join([*texts, "Nothing was built."]))


def refusals(tasks: Collection[str]) -> list[str]:
    """What is wrong where one of `tasks`, which are to run, needs a package that is not installed
    or more memory than it may have, or all together write more than the disk has room for; for
    people."""
    texts, disk = _lacking(tasks), 0
    for task, action in _known.values():
        if task not in tasks:
            continue
        need, limit = need_of(action), session.limit_of(task)
        disk += need.disk or 0
        if limit is not None and need.memory is not None and need.memory > limit.amount:
            texts.append(_too_large(task, action, need.memory, limit))
    free = shutil.disk_usage(".").free
    if disk > free:
        texts.append(
            f"no room left on the disk: {len(tasks)} tasks are to run and write about "
            f"{disk / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free. Free some space, or build "
            "fewer targets at a time."
        )
    return texts


def _lacking(tasks: Collection[str]) -> list[str]:
    """A sentence for each package that some of the tasks run with and that is not installed, and
    the one command that installs them."""
    users: dict[str, list[str]] = {}
    for task, action in _known.values():
        for package in missing(action.stage.uses()) if task in tasks else ():
            users.setdefault(package, []).append(task)
    if not users:
        return []
    them = "it" if len(users) == 1 else "them"
    return [
        *(
            f"{package}, which is not installed, is needed by {', '.join(names)}."
            for package, names in users.items()
        ),
        f"Install {them} with {command_for(users)} and run doit again.",
    ]


def _runs(action: Action, known: dict[Path, bool]) -> bool:
    """Whether an action or one that it needs is stale; `known` keeps what is known of targets."""
    if action.target not in known:
        upstream = [_known[path][1] for path in action.inputs.values() if path in _known]
        known[action.target] = any(_runs(one, known) for one in upstream) or bool(status(action))
    return known[action.target]


def _too_large(task: str, action: Action, memory: int, limit: Limit) -> str:
    text = (
        f"{task} needs about {gib(memory)} of memory, and {limit.reason} allows "
        f"{gib(limit.amount)}."
    )
    others = action.stage.alternatives(_inputs(action), action.target, limit.amount)
    return "\n".join([text, *(f"  Instead: {other}" for other in others)])


def gib(amount: int) -> str:
    """Such as `1.5 GiB`, `700 MiB`."""
    return f"{amount / 2**30:,.1f} GiB" if amount >= 2**30 else f"{amount / 2**20:.0f} MiB"
