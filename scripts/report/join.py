"""From the stored records to the rows of a report: read, joined, held against their budgets."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from scripts.errors import QuantmakeError
from scripts.evaluation.budget import Break, Budget, breaks
from scripts.evaluation.result import OUTCOME, Evaluation, Failed, Measured, Timings
from scripts.evaluation.sensitivity import Sensitivity
from scripts.report.lineup import Lineup
from scripts.report.verdict import Verdict

Record = TypeVar("Record")
_TIMINGS: TypeAdapter[Timings] = TypeAdapter(Timings)


def read_lineup(
    inputs: Mapping[str, Path],
    baselines: tuple[str, ...],
    artifacts: tuple[str, ...],
    budgets: Mapping[str, Budget],
) -> Lineup:
    """The rows, checked to be comparable.

    Raises QuantmakeError for what is no record, for other prompts than the base's, and where the
    base itself or every artefact could not be measured.
    """
    outcomes, timings = _records(inputs, (*baselines, *artifacts))
    rows: dict[str, Evaluation] = {}
    failed: list[Failed] = []
    for name, outcome in outcomes.items():
        row = _join(outcome, timings)
        if isinstance(row, Failed):
            failed.append(row)
        else:
            rows[name] = row
    base = rows.get(baselines[0])
    if base is None or not any(name in rows for name in artifacts):
        reasons = "".join(f"\n  {one.artifact}: {one.reason}" for one in failed)
        raise QuantmakeError(f"there is nothing to compare, since these failed:{reasons}")
    _refuse_other_prompts(rows, base)
    found = Lineup(
        tuple(rows[name] for name in baselines if name in rows),
        tuple(rows[name] for name in artifacts if name in rows),
        tuple(failed),
    )
    return replace(found, breaks=_breaks(found, budgets), sensitivity=_sensitivity(inputs))


def verdict_of(lineup: Lineup, budgets: Mapping[str, Budget]) -> Verdict:
    """What decides on the build; an artefact with a budget that can't be shown to hold is out."""
    out = {one.artifact for one in lineup.breaks}
    out |= {one.artifact for one in lineup.failed if one.artifact in budgets}
    return Verdict(breaks=list(lineup.breaks), failed=list(lineup.failed), rejected=sorted(out))


def _sensitivity(inputs: Mapping[str, Path]) -> Sensitivity | None:
    path = inputs.get("sensitivity")
    return None if path is None else Sensitivity.model_validate_json(path.read_bytes())


def _records(
    inputs: Mapping[str, Path], names: tuple[str, ...]
) -> tuple[dict[str, Measured | Failed], Timings]:
    broken: list[str] = []

    def read(path: Path, kind: TypeAdapter[Record]) -> Record | None:
        try:
            return kind.validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            broken.append(f"{path.name}: {where}: {first['msg']}")
            return None

    outcomes = {name: read(inputs[f"evaluation/{name}"], OUTCOME) for name in names}
    timings = read(inputs["timings"], _TIMINGS)
    if broken or timings is None:
        raise QuantmakeError(
            "these evaluations can't be read: " + "; ".join(broken) + ". Delete them and run "
            "doit report, which measures the artefacts again."
        )
    return {name: one for name, one in outcomes.items() if one is not None}, timings


def _join(outcome: Measured | Failed, timings: Timings) -> Evaluation | Failed:
    """What was measured with its timings, or why one of them is missing."""
    if isinstance(outcome, Failed):
        return outcome
    speed = timings.speeds.get(outcome.artifact)
    if speed is None:
        return Failed(
            artifact=outcome.artifact,
            label=outcome.label,
            backend=outcome.backend,
            reason=timings.failures.get(outcome.artifact, "it was not timed; run doit report"),
        )
    fields = {name: getattr(outcome, name) for name in type(outcome).model_fields}
    return Evaluation(**fields, speed=speed, machine=timings.machine)


def _refuse_other_prompts(rows: Mapping[str, Evaluation], base: Evaluation) -> None:
    prompts = [sample.prompt for sample in base.samples]
    differ = [n for n, one in rows.items() if [s.prompt for s in one.samples] != prompts]
    if differ:
        raise QuantmakeError(
            f"the evaluations of {', '.join(differ)} answer other prompts than the base's; "
            "they are of another recipe or version. Run doit report to measure them again."
        )


def _breaks(lineup: Lineup, budgets: Mapping[str, Budget]) -> tuple[Break, ...]:
    return tuple(
        one
        for row in lineup.artifacts
        if row.artifact in budgets
        for one in breaks(budgets[row.artifact], row, lineup.base, lineup.float_model(row))
    )
