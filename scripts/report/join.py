"""From the stored records to the rows of a report: read, joined, held against their budgets."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from scripts.errors import QuantmakeError
from scripts.evaluation.budget import Break, Budget, Judgement, Missing
from scripts.evaluation.result import (
    MEASUREMENT,
    Embedded,
    Evaluation,
    Failed,
    Measured,
    Speed,
    Timings,
)
from scripts.evaluation.sensitivity import Sensitivity
from scripts.report.facts import Facts
from scripts.report.lineup import Lineup
from scripts.report.measures import of_budget

Stored = TypeVar("Stored")
_TIMINGS: TypeAdapter[Timings] = TypeAdapter(Timings)


def read_lineup(inputs: Mapping[str, Path], facts: Facts) -> Lineup:
    """The rows, checked to be comparable.

    Raises QuantmakeError for what is no record, for other prompts than the base's, and where the
    base itself or every artefact could not be measured.
    """
    measurements, timings = _records(inputs, (*facts.baselines, *facts.artifacts))
    rows: dict[str, Evaluation] = {}
    missing: list[Missing] = []
    for name, one in measurements.items():
        row = _join(name, one, timings, facts.labels[name])
        if isinstance(row, Missing):
            missing.append(row)
        else:
            rows[name] = row
    base = rows.get(facts.baselines[0])
    if base is None or not any(name in rows for name in facts.artifacts):
        reasons = "".join(f"\n  {one.artifact}: {one.reason}" for one in missing)
        raise QuantmakeError(f"there is nothing to compare, since these failed:{reasons}")
    _refuse_other_prompts(rows, base)
    path = inputs.get("sensitivity")
    lineup = Lineup(
        tuple(rows[name] for name in facts.baselines if name in rows),
        tuple(rows[name] for name in facts.artifacts if name in rows),
        tuple(missing),
        sensitivity=Sensitivity.model_validate_json(path.read_bytes()) if path else None,
    )
    return replace(lineup, breaks=tuple(breaks(lineup, facts.budgets)))


def judge(lineup: Lineup, budgets: Mapping[str, Budget]) -> Judgement:
    """What decides on the build; an artefact with a budget that can't be shown to hold is out."""
    out = {one.artifact for one in lineup.breaks}
    missing = (*lineup.missing, *_unknown(lineup, budgets))
    out |= {one.artifact for one in missing if one.artifact in budgets}
    return Judgement(breaks=lineup.breaks, missing=missing, rejected=tuple(sorted(out)))


def _unknown(lineup: Lineup, budgets: Mapping[str, Budget]) -> Iterator[Missing]:
    """Artefacts whose budget is in times of a speed that was not measured."""
    for row in lineup.artifacts:
        budget = budgets.get(row.artifact)
        limits = [*budget.limits()] if budget else []
        bad = [one for one in limits if isnan(of_budget(one).value(row, lineup))]
        if bad:
            reason = f"no {', '.join(bad)}, since the base's speed was not measured"
            yield Missing(artifact=row.artifact, label=row.label, reason=reason)


def _records(
    inputs: Mapping[str, Path], names: tuple[str, ...]
) -> tuple[dict[str, Measured | Embedded | Failed], Timings]:
    broken: list[str] = []

    def read(path: Path, kind: TypeAdapter[Stored]) -> Stored | None:
        try:
            return kind.validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            broken.append(f"{path.name}: {where}: {first['msg']}")
            return None

    measurements = {name: read(inputs[f"evaluation/{name}"], MEASUREMENT) for name in names}
    timings = read(inputs["timings"], _TIMINGS)
    if broken or timings is None:
        raise QuantmakeError(
            "these evaluations can't be read: " + "; ".join(broken) + ". Delete them and run "
            "doit report, which measures the artefacts again."
        )
    return {name: one for name, one in measurements.items() if one is not None}, timings


def _join(
    name: str, measured: Measured | Embedded | Failed, timings: Timings, label: str
) -> Evaluation | Missing:
    """What was measured with its timings, or why one of them is missing."""
    if isinstance(measured, Failed):
        return Missing(artifact=name, label=label, reason=measured.reason)
    speed = timings.speeds.get(name)
    if isinstance(measured, Embedded):
        if speed is None:
            reason = timings.failures.get(name, "it was not timed; run doit report")
            return Missing(artifact=name, label=label, reason=reason)
        return Evaluation.of_encoder(measured, label, speed, timings.machine)
    fields = {field: getattr(measured, field) for field in type(measured).model_fields}
    if left_out := timings.left_out.get(name):
        speed = Speed.none(timings.machine.cores)
        fields["notes"] = (*measured.notes, left_out)
    if speed is None:
        reason = timings.failures.get(name, "it was not timed; run doit report")
        return Missing(artifact=name, label=label, reason=reason)
    return Evaluation(**fields, label=label, speed=speed, machine=timings.machine)


def _refuse_other_prompts(rows: Mapping[str, Evaluation], base: Evaluation) -> None:
    prompts = [sample.prompt for sample in base.samples]
    differ = [n for n, one in rows.items() if [s.prompt for s in one.samples] != prompts]
    if differ:
        raise QuantmakeError(
            f"the evaluations of {', '.join(differ)} answer other prompts than the base's; "
            "they are of another recipe or version. Run doit report to measure them again."
        )


def breaks(lineup: Lineup, budgets: Mapping[str, Budget]) -> Iterator[Break]:
    """The limits that artefacts do not keep."""
    for row in lineup.artifacts:
        budget = budgets.get(row.artifact)
        for name, limit in (budget.limits() if budget else {}).items():
            measure = of_budget(name)
            value = measure.value(row, lineup)
            if value < limit if measure.higher else value > limit:
                yield Break(artifact=row.artifact, budget=name, limit=limit, value=value)
