"""The steps of the methods: their lines, their table, its page."""

import pytest

from scripts.benchmarks.peers import ablation
from scripts.benchmarks.peers.bench import format_of
from scripts.benchmarks.peers.records import Failed
from scripts.errors import QuantmakeError
from tests.benchmarks.test_peers import measured
from tests.checkout import ROOT

LINES = [line for lines in ablation.GROUPS.values() for line in lines]


@pytest.mark.parametrize("line", LINES)
def test_line_is_one_of_a_recipe(line: str) -> None:
    assert format_of(line).model_dump()


def test_table_has_what_is_measured_with_its_standard_error() -> None:
    text = ablation.markdown({LINES[1]: measured(0.25), LINES[0]: None, LINES[2]: FAILED})
    assert text == (
        "| artefact | MB | news | minutes |\n"
        "| --- | --- | --- | --- |\n"
        f"| `{LINES[1]}` | 100.0 | 0.2500 ± 0.0100 | 1.5 |\n"
    )


FAILED = Failed(key="", reason="no room")


def test_nothing_measured_is_told() -> None:
    with pytest.raises(QuantmakeError, match="nothing is measured yet; run it without --only-kept"):
        ablation.markdown({LINES[0]: None})


def test_page_has_a_place_for_it() -> None:
    assert f"<!-- {ablation.MARK} -->" in (ROOT / ablation.PAGE).read_text(encoding="utf-8")


def test_unknown_group_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ablation.main(["nf5"])
    assert "unknown groups: nf5; there are gguf-small, gguf-medium" in capsys.readouterr().err
