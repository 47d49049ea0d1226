"""The one table of measures: what derives from it leaves none out."""

import pytest

from scripts.evaluation.budget import Budget
from scripts.evaluation.result import Estimate
from scripts.report.glossary import glossary
from scripts.report.history import history
from scripts.report.lineup import Lineup
from scripts.report.markdown import write_markdown
from scripts.report.measures import GROUPS, MEASURES, measures_of, of_budget, value_of
from scripts.report.parts import Explanations, Section
from scripts.report.tables import overview
from tests.report.factory import facts_of, usual
from tests.report.test_encoder_report import ROWS

KINDS = pytest.mark.parametrize("rows", [usual(), ROWS], ids=["decoder", "encoder"])


@KINDS
def test_every_measure_has_its_column_once(rows: Lineup) -> None:
    """In both pages: the Markdown shows the same groups, one table for each."""
    found = overview(rows)
    columns = [column.name for group in found.groups.values() for column in group]
    assert sorted(columns) == sorted(one.header for one in measures_of(rows))
    assert {one.group for one in MEASURES.values()} == set(GROUPS)
    text = write_markdown(facts_of(rows), [Section("Comparison", (found,))])
    headers = [line.split("|")[2:-1] for line in text.splitlines() if line.startswith("|artefact|")]
    assert [name for header in headers for name in header] == columns


@KINDS
def test_cells_sort_by_the_value_itself(rows: Lineup) -> None:
    found = overview(rows)
    columns = [column.name for group in found.groups.values() for column in group]
    for measure in measures_of(rows):
        place = columns.index(measure.header)
        keys = [cells[place].key for *_, cells in found.rows]
        assert keys == [measure.value(row, rows) for row in rows.rows]


@KINDS
def test_every_measure_is_explained(rows: Lineup) -> None:
    parts = glossary(facts_of(rows), rows).parts
    explained = [term for one in parts if isinstance(one, Explanations) for term, _ in one.terms]
    names = [one.name for one in measures_of(rows)]
    assert names == explained[-len(names) - 1 : -1]
    assert all(one.meaning.endswith(".") for one in MEASURES.values())


@pytest.mark.parametrize("name", Budget.model_fields)
def test_budgets_limit_measures_from_their_better_side(name: str) -> None:
    assert name.startswith("min_" if of_budget(name).higher else "max_")


@KINDS
def test_what_has_a_margin_is_compared_with_the_last_report(rows: Lineup) -> None:
    kept = history(rows, None).now.artifacts["model-int8"]
    assert list(kept) == [one.key for one in measures_of(rows) if one.margin is not None]
    for key, figure in kept.items():
        assert value_of(figure) == MEASURES[key].value(rows.artifacts[0], rows)
    assert isinstance(kept["cosine" if rows is ROWS else "kld"], Estimate)
