"""The comparison of all rows: which figures stand where, and how baselines are told apart."""

from scripts.report.parts import Table
from scripts.report.tables import overview, repeats_table, stored_table
from scripts.report.verdicts import verdict_table
from scripts.report.yardsticks import PREDICTIONS
from tests.report.factory import usual


def _figures(name: str) -> dict[str, str]:
    """The cells of a row by their columns."""
    found = overview(usual())
    columns = [column.name for group in found.groups.values() for column in group]
    (cells,) = (cells for _, row, cells in found.rows if row == name)
    return {
        column: cell.text.replace("\u00a0", " ")
        for column, cell in zip(columns, cells, strict=True)
    }


def _row(table: Table, name: str) -> dict[str, str]:
    return next(
        {key: cell.replace("\u00a0", " ") for key, cell in zip(table.header, row, strict=True)}
        for row in table.rows
        if row[0] == name
    )


def test_quality() -> None:
    assert (
        _figures("`model-int4`").items()
        >= {
            "perplexity": "36.14 ± 1.23",
            "× FP16": "1.227 ± 0.002",
            "KLD": "0.284 ± 0.006",
            "99 % KLD": "1.704",
            "99.9 % KLD": "4.260",
            "same top token": "62.7 ± 0.3 %",
            "in a word": "poor",
        }.items()
    )


def test_baselines_stand_first_in_italics() -> None:
    names = ["*Label of base*", "*Label of graph*", "*Label of f16.gguf*", "`model-int8`"]
    assert [row[1] for row in overview(usual()).rows[:4]] == names
    for table in (stored_table(usual()), repeats_table(usual())):
        assert [row[0] for row in table.rows[:4]] == names
    assert _figures("*Label of base*")["in a word"] == "the yardstick"
    assert _figures("*Label of graph*")["in a word"] == "the float model"


def test_size() -> None:
    assert (
        _figures("`model.gguf`").items()
        >= {
            "size MB": "92.0",
            "of FP16": "34 %",
            "bits per weight": "5.47",
        }.items()
    )
    stored = _row(stored_table(usual()), "`model.gguf`")
    assert stored["weight tensors stored as"] == "210 × Q8_0, 1 × F16"


def test_speed_keeps_runtime_and_quantisation_apart() -> None:
    assert (
        _figures("`model.gguf`").items()
        >= {
            "prefill t/s": "1,003",
            "decode t/s": "215",
            "decode, × FP16": "13×",
            "decode, × own float": "1.9×",
            "prefill, × own float": "1.7×",
            "first token ms": "50",
            "load s": "0.31",
            "peak RSS MB": "276",
        }.items()
    )


def test_repeats_have_their_spread() -> None:
    table = repeats_table(usual())
    assert table.header == ("artefact", "prefill t/s", "decode t/s", "first token ms")
    assert _row(table, "`model-int8`")["decode t/s"] == "105 (101 to 108, 5×)"
    assert table.align == ["left", "right", "right", "right"]


def test_verdicts_are_those_of_the_advice() -> None:
    assert [row[:2] for row in verdict_table(PREDICTIONS).rows] == [
        ("< 0.01", "indistinguishable in practice"),
        ("< 0.05", "close"),
        ("< 0.2", "noticeable"),
        ("< 0.5", "poor"),
        ("≥ 0.5", "broken"),
    ]
