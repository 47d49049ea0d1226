"""What changed since the last committed report, and that committing a report changes nothing."""

import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.exec import run_stage
from scripts.report.history import (
    FIGURES,
    History,
    Snapshot,
    change_sentence,
    change_table,
    changes,
    committed_figures,
    history,
)
from scripts.report.lineup import Lineup
from scripts.report.parts import Paragraph
from scripts.report.write_report import HTML_NAME, NAME
from tests.report.factory import evaluation, inputs_of, lineup, report_of

OLD = lineup(
    evaluation("better", kld=0.05, megabytes=150, decode=100),
    evaluation("worse", kld=0.05, megabytes=150, decode=100),
    evaluation("same", kld=0.05, megabytes=150, decode=100),
    evaluation("gone"),
)
NEW = lineup(
    evaluation("better", kld=0.01, megabytes=120, decode=130),
    evaluation("worse", kld=0.09, megabytes=150, decode=90),
    evaluation("same", kld=0.0505, megabytes=150.1, decode=103),
    evaluation("new"),
)


def _compared(old: Lineup, new: Lineup) -> tuple[Snapshot, Snapshot]:
    """The figures now and before."""
    compared = history(new, history(old, None))
    assert compared.before is not None
    return compared.now, compared.before


def test_what_got_better_and_worse() -> None:
    assert change_table(*_compared(OLD, NEW)).rows == (
        ("`better`", "KLD", "better", "0.0500", "0.0100"),
        ("`better`", "size MB", "better", "150.0", "120.0"),
        ("`better`", "decode t/s", "better", "100", "130"),
        ("`gone`", "", "gone", "", ""),
        ("`new`", "", "new", "", ""),
        ("`worse`", "KLD", "worse", "0.0500", "0.0900"),
        ("`worse`", "decode t/s", "worse", "100", "90.0"),
    )


def test_speeds_of_another_processor_are_not_compared() -> None:
    base = OLD.base
    machine = base.machine.model_copy(update={"cpu": "Other CPU"})
    elsewhere = Lineup((base.model_copy(update={"machine": machine}),), OLD.artifacts)
    found = _compared(elsewhere, NEW)
    assert not [row for row in change_table(*found).rows if row[1] == "decode t/s"]
    assert "another processor, Other CPU" in change_sentence(*found)


def test_noise_is_no_change() -> None:
    found = _compared(lineup(OLD.artifacts[2]), lineup(NEW.artifacts[2]))
    assert change_table(*found).rows == ()
    rows = lineup(OLD.artifacts[2])
    (section,) = changes(history(lineup(NEW.artifacts[2]), history(rows, None)))
    (said,) = section.parts
    assert isinstance(said, Paragraph)
    assert said.text.startswith("No artefact got better or worse. A KL divergence")


def test_first_report_has_nothing_to_say() -> None:
    assert changes(history(NEW, None)) == []


@pytest.mark.usefixtures("plain_charts")
def test_committing_a_report_does_not_change_it(tmp_path: Path) -> None:
    first = history(OLD, None)
    texts = []
    committed = first
    for name in ("before", "after"):
        out = tmp_path / name
        run_stage(report_of(NEW, committed=committed), inputs_of(NEW, tmp_path / "in"), out)
        texts.append([(out / page).read_bytes() for page in (NAME, HTML_NAME)])
        committed = History.model_validate_json((out / "charts" / FIGURES).read_bytes())
    assert texts[0] == texts[1]
    assert committed.before == first.now
    assert b"## Since the last committed report" in texts[0][0]
    assert b"What got better or worse" in texts[0][1]


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git on the PATH")
def test_order_of_a_committed_report_s_figures_does_not_matter() -> None:
    kept = history(NEW, history(OLD, None))
    turned = kept.now.model_copy(update={"artifacts": dict(reversed(kept.now.artifacts.items()))})
    committed = kept.model_copy(update={"now": turned})
    assert history(NEW, committed).model_dump_json() == kept.model_dump_json()


def test_figures_come_from_the_last_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=A", "-c", "user.email=a@b.test")
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    monkeypatch.chdir(tmp_path)
    file = Path("charts") / FIGURES
    git("init")
    assert committed_figures(file) is None
    file.parent.mkdir()
    file.write_text(history(OLD, None).model_dump_json())
    git("add", ".")
    git("commit", "-m", "One")
    file.write_text("edited since")
    assert committed_figures(file) == history(OLD, None)
    git("commit", "-am", "Two")
    assert committed_figures(file) is None
