"""Peers in real child processes of this Python, on the tiny model; the table that is written."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.benchmarks.peers import table
from scripts.benchmarks.peers.__main__ import all_peers, main
from scripts.benchmarks.peers.bench import OURS, Bench, format_of, slug
from scripts.benchmarks.peers.child import Cost
from scripts.benchmarks.peers.environment import python_of
from scripts.benchmarks.peers.records import Failed, Made, Measured
from scripts.benchmarks.peers.scoring import Yardstick
from scripts.engine.store.files import write_atomically
from scripts.engine.store.manifest import make_manifest, manifest_path
from scripts.errors import MachineError
from scripts.evaluation.reference import Reference
from scripts.evaluation.result import Estimate, TextQuality
from scripts.exec import run_stage
from tests.benchmarks.fake_peer import PEER
from tests.checkout import ROOT
from tests.conftest import Once
from tests.report.factory import quality_of

SCHEMES = {scheme.name: scheme for scheme in PEER.schemes}


@pytest.fixture(scope="module")
def nodes(tiny_base: Path, tiny_text: Path, tiny_calibration: Path, once: Once) -> dict[str, Path]:
    """What a recipe's graph gives: three windows of one kind of text, three of another."""
    stage = Reference(
        lines=(0, 40), kind="first", others={"second": (40, 80)}, windows=3, context=32
    )
    inputs = {"base": tiny_base, "text": tiny_text, "text/second": tiny_text}
    reference = once("peers-reference", lambda folder: run_stage(stage, inputs, folder))
    made = {"base": tiny_base, "calibration": tiny_calibration, "reference": reference}
    for path in made.values():
        write_atomically(manifest_path(path), make_manifest(path).to_json())
    return made


@pytest.fixture
def bench(nodes: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench that remembers what it said."""
    monkeypatch.chdir(ROOT)
    return Bench(nodes, tmp_path, tmp_path, Yardstick(nodes["reference"]), say=lambda _: None)


@pytest.mark.slow  # a process loads the model
def test_base_by_a_runtime_of_others_is_the_base(bench: Bench) -> None:
    peer = replace(PEER, runtime="scripts.benchmarks.peers.runtimes:transformers")
    outcome = bench.measure(bench.row_of_base(peer))
    assert isinstance(outcome, Measured), outcome
    assert [one.kind for one in outcome.texts] == ["first", "second"]
    assert [one.quality.tokens_scored for one in outcome.texts] == [45, 45]
    assert outcome.worst < 1e-6


@pytest.mark.slow
def test_what_is_measured_is_not_run_again(bench: Bench) -> None:
    said: list[str] = []
    bench = replace(bench, say=said.append)
    row = bench.row_of(PEER, SCHEMES["random"])
    first = bench.measure(row)
    assert isinstance(first, Measured)
    assert first.worst > 1
    assert first.made.cost.seconds > 0
    assert first.bytes > 100_000
    both = ["fake, random: quantising", "fake, random: scoring"]
    assert said == both
    assert bench.measure(row) == bench.kept(row) == first
    assert said == both
    fewer = replace(bench, yardstick=replace(bench.yardstick, each=2))
    outcome = fewer.measure(fewer.row_of(PEER, SCHEMES["random"]))
    assert isinstance(outcome, Measured)
    assert [one.quality.tokens_scored for one in outcome.texts] == [30, 30]
    assert said == [*both, "fake, random: scoring"]
    assert bench.kept(row) is None
    replace(bench, again=True).measure(row)
    assert said[3:] == both


@pytest.mark.slow
@pytest.mark.parametrize(
    ("does", "reason"),
    [
        (
            "dies",
            "fake, dies ended with exit code 1; its last words: reading / no room for blocks of 7 "
            "(log: {place}/job.log)",
        ),
        ("nothing", "fake, nothing ended well and wrote nothing to {place}/artifact"),
        (
            "vocabulary",
            "fake, vocabulary has a vocabulary of 300, the base 512; they are not the same model",
        ),
        ("nan", "fake, nan gives logits that are NaN or infinite (window 0)"),
        (
            "windows",
            "scoring fake, windows ended with exit code 1; its last words: it gave the logits of 5 "
            "windows; 6 were asked for (log: {place}/logits.log)",
        ),
    ],
)
def test_failure_is_a_row_with_its_reason(bench: Bench, does: str, reason: str) -> None:
    row = bench.row_of(PEER, SCHEMES[does])
    outcome = bench.measure(row)
    assert isinstance(outcome, Failed)
    assert reason.format(place=row.place) in outcome.reason
    assert bench.kept(row) == outcome
    assert not (row.place / "logits.npy").exists()


@pytest.mark.slow
def test_environment_that_cannot_be_installed_is_said(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("venv.create", lambda *_, **__: None)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    python = tmp_path / "fake" / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to((ROOT / ".venv/bin/python").absolute())
    peer = replace(PEER, packages=("no-such-distribution==1",))
    with pytest.raises(MachineError) as told:
        python_of(peer, tmp_path / "fake")
    assert str(told.value).startswith(
        "fake could not be installed: pip ended with exit code 1; its last words: "
    )
    assert "no-such-distribution==1" in str(told.value)
    outcome = bench.measure(bench.row_of(peer, SCHEMES["random"]))
    assert isinstance(outcome, Failed)
    assert outcome.reason == str(told.value)


@pytest.mark.slow
def test_our_artefact_is_measured_the_same_way(bench: Bench) -> None:
    outcome = bench.measure(bench.row_of_ours("{format: bitsandbytes}"))
    assert isinstance(outcome, Measured), outcome
    assert 0 < outcome.worst < 1


def measured(kld: float, before: float = 0) -> Measured:
    """A row of 100 MB that took 90 s."""
    quality = quality_of(tokens_scored=1, kld_mean=Estimate(value=kld, se=0.01))
    cost = Cost(seconds=90, cpu_seconds=120, memory=2_500_000_000)
    made = Made(key="", cost=cost, before=before)
    texts = (TextQuality(kind="news", quality=quality),)
    return Measured(key="", made=made, bytes=100_000_000, texts=texts)


def test_table_has_ours_beside_each_scheme() -> None:
    peer = replace(PEER, schemes=(SCHEMES["random"], SCHEMES["dies"]), packages=("a==1", "b==2"))
    outcomes = {
        ("fake", "random"): measured(0.25),
        ("fake", "dies"): Failed(key="", reason="no room"),
        (OURS, "{format: bitsandbytes}"): measured(0.125, before=30),
    }
    groups = table.grouped([peer], outcomes)
    text = table.markdown([peer], groups, {OURS: measured(0), "fake": None}, "a machine")
    assert table.terminal(groups).row_count == 3
    assert text == (
        "Measured on a machine.\n"
        "\n"
        "| tool | scheme | MB | news | worst | minutes | CPU minutes | GB |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- |\n"
        "| fake | random | 100.0 | 0.2500 | 0.2500 | 1.50 | 2.00 | 2.5 |\n"
        "| **quantmake** | `{format: bitsandbytes}` | 100.0 | 0.1250 | **0.1250** | 1.50 + 0.5 | "
        "2.00 | 2.5 |\n"
        "\n"
        "The base itself through the same ways, KLD in nats:\n"
        "\n"
        "| computed by | news |\n"
        "| --- | --- |\n"
        "| quantmake | 0.0000 |\n"
        "\n"
        "### Versions\n"
        "\n"
        "| tool | packages |\n"
        "| --- | --- |\n"
        "| fake | `a==1`, `b==2` |\n"
        "\n"
        "### What was called\n"
        "\n"
        "| tool | scheme | call |\n"
        "| --- | --- | --- |\n"
        "| fake | random | `fake random` |\n"
        "| fake | dies | `fake dies` |\n"
        "\n"
        "### Not measured\n"
        "\n"
        "- fake, dies: no room\n"
    )


def test_page_is_renewed_between_its_marks() -> None:
    page = "before\n<!-- generated: peers -->\nold\n<!-- end -->\nafter\n"
    wanted = "before\n<!-- generated: peers -->\n\nnew\n\n<!-- end -->\nafter\n"
    assert table.renewed(page, "new\n", table.MARK) == wanted
    assert table.renewed(wanted, "new\n", table.MARK) == wanted


def test_peers_are_pinned_and_stand_beside_artefacts_of_ours() -> None:
    peers = all_peers()
    assert len({slug(peer.name) for peer in peers}) == len(peers) > 6
    for peer in peers:
        assert all("==" in one for one in peer.packages), peer.name
        names = [slug(scheme.name) for scheme in peer.schemes]
        assert len(set(names)) == len(names), peer.name
        for scheme in peer.schemes:
            assert format_of(scheme.ours).format
            assert scheme.call


def test_page_has_the_versions_of_the_table() -> None:
    page = (ROOT / table.PAGE).read_text(encoding="utf-8")
    for peer in all_peers():
        for package in peer.packages:
            assert f"`{package}`" in page, f"{package}: python -m scripts.benchmarks.peers --write"


def test_unknown_peer_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["olive"])
    assert "unknown peers: olive; there are mlx-lm, optimum-intel" in capsys.readouterr().err


_STOPPED = """
import sys
from pathlib import Path
from scripts.benchmarks.peers.child import run
from scripts.engine.run.children import handle_signals
handle_signals()
run("a peer", [sys.executable, "-c", sys.argv[1]], Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_peer_does_not_outlive_the_benchmark(tmp_path: Path) -> None:
    said = tmp_path / "pid"
    peer = f"import os, time; open({str(said)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    command = [sys.executable, "-c", _STOPPED, peer, str(tmp_path / "log")]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as bench:
        while not said.is_file() or not said.read_text():
            time.sleep(0.05)
        bench.terminate()
        bench.wait(30)
    with pytest.raises(ProcessLookupError):
        os.kill(int(said.read_text()), 0)
