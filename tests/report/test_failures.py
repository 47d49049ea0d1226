"""Broken budgets and rows that could not be measured: in the report, and at the gate."""

from pathlib import Path

import pytest

from scripts.errors import QuantmakeError
from scripts.evaluation.budget import JUDGEMENT_NAME, Budget, Judgement
from scripts.evaluation.result import Speed
from scripts.exec import run_stage
from scripts.report.gate import Gate
from scripts.report.join import judge
from scripts.report.lineup import Lineup
from scripts.report.write_report import HTML_NAME, NAME
from tests.report.factory import (
    TOO_LARGE,
    evaluation,
    failure,
    inputs_of,
    lineup,
    missing,
    report_of,
    usual,
)

BUDGETS = {
    "model-int8": {"max_kld": 0.004, "min_decode_speedup": 2.0, "max_size_ratio": 0.62},
    "model.gguf": {"max_kld": 0.5},
}


def written(rows: Lineup, folder: Path, **changes: object) -> Path:
    out = folder / "report"
    run_stage(report_of(rows, **changes), inputs_of(rows, folder / "evaluation"), out)
    return out


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The usual line-up, in which model-int8 is too far off, and one row that does not load."""
    rows = usual()
    rows = Lineup(
        rows.baselines, rows.artifacts, (missing("model-new", "it does not load, at all"),)
    )
    return written(rows, tmp_path_factory.mktemp("failed"), budgets=BUDGETS)


def test_judgement_names_what_broke_and_what_was_kept(report: Path) -> None:
    judgement = Judgement.model_validate_json((report / JUDGEMENT_NAME).read_bytes())
    (broken,) = judgement.breaks
    assert (broken.artifact, broken.budget, broken.limit) == ("model-int8", "max_kld", 0.004)
    assert broken.value == pytest.approx(0.0046)
    assert broken.by == pytest.approx(0.15)
    assert judgement.rejected == ("model-int8",)
    assert [one.artifact for one in judgement.missing] == ["model-new"]


def test_failures_stand_at_the_top_of_both_pages(report: Path) -> None:
    text = (report / NAME).read_text().replace("\u00a0", " ")
    assert text.index("## Broken budgets") < text.index("## Not measured")
    assert text.index("## Not measured") < text.index("## Which one should I take?")
    assert "|`model-int8`|`max_kld`|0.0040|0.0046|15.0 %|" in text
    assert "it does not load, at all" in text
    page = (report / HTML_NAME).read_text()
    assert page.index("Broken budgets") < page.index("Which one should I take?</h2>")
    assert "it does not load, at all" in page


def test_rejected_artefact_is_recommended_nowhere_but_compared(report: Path) -> None:
    text = (report / NAME).read_text()
    advice = text[text.index("## Which one") : text.index("### In short")]
    assert "`model-int8`" not in advice
    assert "`model-q8_0.gguf`" in advice
    assert "|`model-int8`|" in text[text.index("### In short") :]
    assert "quantized/model-int8`" not in text


def test_gate_complains_with_a_table_of_80_columns(report: Path, tmp_path: Path) -> None:
    gate = Gate(report, tmp_path / "quantized")
    assert gate.rejected() == {tmp_path / "quantized/model-int8"}
    text = gate.complaint().replace("\u00a0", " ")
    (row,) = [line for line in text.splitlines() if "max_kld" in line]
    assert row.split() == ["model-int8", "max_kld", "0.0040", "0.0046", "15.0", "%"]
    assert "model-new: it does not load, at all" in text
    assert max(map(len, text.splitlines()[:5])) < 80


@pytest.mark.usefixtures("plain_charts")
def test_gate_is_silent_where_all_is_well(tmp_path: Path) -> None:
    out = written(usual(), tmp_path, budgets={"model.gguf": {"max_kld": 0.5, "max_bytes": "92MB"}})
    assert Gate(out, tmp_path).complaint() == ""
    assert Gate(out, tmp_path).rejected() == set()
    assert Gate(tmp_path / "nothing", tmp_path).complaint() == ""
    assert "Broken budgets" not in (out / NAME).read_text()


@pytest.mark.usefixtures("plain_charts")
def test_budget_that_cannot_be_shown_to_hold_is_broken(tmp_path: Path) -> None:
    rows = Lineup(usual().baselines, usual().artifacts, (missing("model-new"),))
    out = written(rows, tmp_path, budgets={"model-new": {"max_kld": 1}})
    assert Gate(out, Path("quantized")).rejected() == {Path("quantized/model-new")}


@pytest.mark.usefixtures("plain_charts")
def test_all_that_break_their_budgets_are_still_compared(tmp_path: Path) -> None:
    out = written(lineup(evaluation("a")), tmp_path, budgets={"a": {"max_bytes": 1000}})
    assert "**`a`**" in (out / NAME).read_text()


@pytest.mark.usefixtures("plain_charts")
def test_speedups_are_against_the_float_model_of_the_same_runtime(tmp_path: Path) -> None:
    out = written(usual(), tmp_path, budgets={"model.gguf": {"min_decode_speedup": 2.0}})
    (broken,) = Judgement.model_validate_json((out / JUDGEMENT_NAME).read_bytes()).breaks
    assert broken.value == pytest.approx(215 / 111)


def test_row_without_timings_says_so(tmp_path: Path) -> None:
    rows = usual()
    inputs = inputs_of(rows, tmp_path / "evaluation")
    text = inputs["timings"].read_text().replace('"model-int4":', '"another":')
    inputs["timings"].write_text(text)
    run_stage(report_of(rows), inputs, tmp_path / "report")
    judgement = Judgement.model_validate_json((tmp_path / "report" / JUDGEMENT_NAME).read_bytes())
    assert [(one.artifact, "not timed" in one.reason) for one in judgement.missing] == [
        ("model-int4", True)
    ]


@pytest.mark.parametrize("lost", ["base", "model-int8"])
def test_nothing_to_compare_is_an_error(lost: str, tmp_path: Path) -> None:
    rows = lineup(evaluation("model-int8"))
    inputs = inputs_of(rows, tmp_path / "evaluation")
    inputs[f"evaluation/{lost}"].write_text(failure(lost, "killed by a cosmic ray"))
    with pytest.raises(QuantmakeError, match="killed by a cosmic ray"):
        run_stage(report_of(rows), inputs, tmp_path / "report")


def test_base_that_memory_does_not_hold_costs_its_speeds_alone(tmp_path: Path) -> None:
    rows = usual()
    untimed = rows.base.model_copy(update={"speed": Speed.none(2)})
    rows = Lineup((untimed, *rows.baselines[1:]), rows.artifacts)
    text = (written(rows, tmp_path) / NAME).read_text().replace("\u00a0", " ")
    assert f"`base`: {TOO_LARGE}" in text
    assert "|–|" in text
    assert " nan" not in text
    assert "|nan" not in text
    assert ">nan" not in (tmp_path / "report" / HTML_NAME).read_text()


def test_budget_in_times_of_an_unknown_speed_is_not_kept() -> None:
    rows = usual()
    unknown = tuple(
        row.model_copy(update={"speed": Speed.none(2)}) if row.backend == "onnx" else row
        for row in rows.baselines
    )
    budgets = {name: Budget.model_validate(one) for name, one in BUDGETS.items()}
    judgement = judge(Lineup(unknown, rows.artifacts), budgets)
    assert judgement.rejected == ("model-int8",)
    (missing_,) = judgement.missing
    text = "no min_decode_speedup, since the base's speed was not measured"
    assert missing_.reason == text
