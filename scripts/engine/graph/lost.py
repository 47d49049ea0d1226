"""What could not be made in this run, and whether a stage does without it."""

from collections.abc import Mapping
from pathlib import Path

from scripts.engine.run.forecasts import known_action
from scripts.stage import Stage

_reasons: dict[Path, str] = {}


def lose(target: Path, reason: str) -> None:
    """Note that `target` could not be made."""
    _reasons[target] = reason


def are_any() -> bool:
    """Whether there are such targets."""
    return bool(_reasons)


def reason_of(target: Path) -> str | None:
    """Why `target` can't be made: it failed, or something that it needs did; None where it can."""
    if target in _reasons:
        return _reasons[target]
    action = known_action(target)
    if action is None:
        return None
    missing = _missing(action.inputs)
    if not missing or action.stage.without(missing) is not None:
        return None
    return next(iter(missing.values()))


def less(stage: Stage, inputs: Mapping[str, Path]) -> tuple[Stage, dict[str, Path]]:
    """The stage and its inputs, without those that can't be made, where it does without them."""
    missing = _missing(inputs)
    instead = stage.without(missing) if missing else None
    if instead is None:
        return stage, dict(inputs)
    return instead, {name: path for name, path in inputs.items() if name not in missing}


def _missing(inputs: Mapping[str, Path]) -> dict[str, str]:
    reasons = {name: reason_of(path) for name, path in inputs.items()} if _reasons else {}
    return {name: reason for name, reason in reasons.items() if reason is not None}
