"""Choosing which MatMuls may be integer: by what they cost together, measured."""

from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from scripts.backends.onnx.check import kinds_of_matmul
from scripts.backends.onnx.graph import head, linears, open_graph
from scripts.backends.onnx.integer.nodes import dynamic
from scripts.backends.onnx.integer.selection import Trial, longest_run, select
from scripts.backends.onnx.integer.weights import nearest_of
from scripts.errors import RecipeError
from scripts.exec import load_stage, run_stage
from scripts.progress import Progress
from scripts.token_windows import read_windows
from scripts.workers import single_core_workers

DYNAMIC = "scripts.backends.onnx.formats.dynamic:OnnxDynamic"
STATIC = "scripts.backends.onnx.formats.static:OnnxStatic"


def integer(model, chosen) -> None:
    dynamic(model, chosen, partial(nearest_of, per_channel=True))


def clumsy(model, chosen) -> None:
    """The down_proj of layer 1 is ruined on the way."""
    for linear in chosen:
        if "layers.1/mlp/down_proj" in linear.name:
            value = linear.node.inputs[1]
            wrong = -9 * value.const_value.numpy()
            from scripts.backends.onnx.graph import constant

            linear.node.replace_input_with(1, constant(model, f"{value.name}_wrong", wrong))
    integer(model, chosen)


@pytest.fixture(scope="module")
def windows(tiny_calibration: Path) -> np.ndarray:
    return read_windows(tiny_calibration)[-2:]


def candidates(model):
    """All but the head."""
    last = head(model)
    return [one for one in linears(model) if one.node is not last.node]


def test_float_form_is_exact_and_all_integer_is_the_artefact(
    tiny_graph: Path, windows: np.ndarray, tmp_path: Path
) -> None:
    from scripts.backends.model import load_model
    from scripts.backends.onnx.graph import save_graph

    model = open_graph(tiny_graph)
    chosen = candidates(model)
    (tmp_path / "trial").mkdir()
    trial = Trial(model, [one.name for one in chosen], integer, tmp_path / "trial")
    assert trial.of_window([], windows[0]) == 0
    integer(model, chosen)
    (tmp_path / "out").mkdir()
    save_graph(model, tiny_graph, tmp_path / "out")
    logs = []
    for folder in (tiny_graph, tmp_path / "out"):
        loaded = load_model("onnx", folder, threads=1, context=128)
        logits = loaded.scores(windows[0], 0).astype(np.float64)
        logs.append(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))
    expected = (np.exp(logs[0]) * (logs[0] - logs[1])).sum(-1).mean()
    everything = trial.of_window(range(trial.count), windows[0])
    # A value in the middle between two codes goes to one here, to the other there.
    assert everything == pytest.approx(expected, rel=0.1)


def test_what_comes_before_is_not_computed_again(
    tiny_graph: Path, windows: np.ndarray, tmp_path: Path
) -> None:
    model = open_graph(tiny_graph)
    names = [one.name for one in candidates(model)]
    (tmp_path / "trial").mkdir()
    trial = Trial(model, names, integer, tmp_path / "trial")
    anew = [trial.of_window([place], windows[0]) for place in range(trial.count)]
    ran = count_nodes(trial)
    trial.of_window([trial.count - 1], windows[0])
    whole = ran.pop()
    trial.remember(windows[0])
    ran.clear()
    assert [trial.of_window([place], windows[0]) for place in range(trial.count)] == anew
    assert ran[0] > 0.8 * whole  # the first one is in the first layer
    assert ran[trial.count // 2] < 0.75 * whole  # that in the middle in the second
    assert ran[-1] < 0.4 * whole  # the last one in the last of three
    assert max(len(known) for known in trial._starts.values()) <= 4


def count_nodes(trial: Trial) -> list[int]:
    """How many nodes each run of the evaluator computes, from now on."""
    evaluator, counts = trial._evaluator, []
    plan = evaluator._plan

    def counted(*arguments):
        order, last = plan(*arguments)
        counts.append(len(order))
        return order, last

    evaluator._plan = counted
    return counts


def test_harmful_one_is_kept_out(tiny_graph: Path, windows: np.ndarray, tmp_path: Path) -> None:
    model = open_graph(tiny_graph)
    chosen = candidates(model)
    selection = select(model, chosen, clumsy, windows, max_kld=0.05, threads=1, scratch=tmp_path)
    out = {one.name for one in chosen} - selection.integer
    assert out == {"/model/layers.1/mlp/down_proj/MatMul"}
    assert 0 < selection.divergence <= 0.05
    assert selection.tried == len(chosen)


def test_limit_that_nothing_keeps_leaves_all_weight_only(
    tiny_graph: Path, windows: np.ndarray, tmp_path: Path
) -> None:
    model = open_graph(tiny_graph)
    selection = select(
        model, candidates(model), integer, windows, max_kld=1e-20, threads=1, scratch=tmp_path
    )
    assert not selection.integer


@dataclass
class Curves:
    """A trial whose windows [n] have known divergences [n, count + 1] by how many are integer."""

    curves: np.ndarray
    measured: int = 0

    def divergences(self, integer: list[int], windows: np.ndarray, _: Executor) -> list[float]:
        self.measured += len(windows)
        return [float(self.curves[window, len(integer)]) for window in windows]


@pytest.mark.parametrize("seed", range(20))
def test_longest_run_fits_on_all_windows_and_few_are_measured_often(seed: int) -> None:
    generator = np.random.default_rng(seed)
    steps = generator.exponential(1, (60, 201)) * np.linspace(0, 1, 201) ** 4
    curves = np.cumsum(steps, 1) * generator.lognormal(0, 0.3, (60, 1))
    limit = float(generator.uniform(0, 1.1 * curves.max()))
    trial = Curves(curves)
    with single_core_workers(1) as pool:
        low, reached = longest_run(
            trial, list(range(200)), np.arange(60), limit, pool, Progress("choosing", 20)
        )
    assert low == max(np.flatnonzero(curves.max(0) <= limit))
    assert reached == (curves[:, low].max() if low else 0)
    assert trial.measured < 5 * 60  # bisection over all of them takes 7 or 8 times 60


@pytest.mark.parametrize(("stage", "method"), [(DYNAMIC, "dynamic"), (STATIC, "static")])
def test_formats_choose_on_the_calibration(
    stage: str,
    method: str,
    tiny_graph: Path,
    tiny_capture: Path,
    tiny_calibration: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    inputs = {"graph": tiny_graph, "capture": tiny_capture, "calibration": tiny_calibration}
    options = {"format": "onnx", "bits": 8, "method": method, "weight_only": "auto"}
    made = load_stage(stage, {**options, "max_kld": 0.5})
    assert "calibration" in made.needed()
    assert made.canonical
    run_stage(made, inputs, tmp_path / "all")
    assert kinds_of_matmul(tmp_path / "all") == {method: 15, "8": 1}
    run_stage(load_stage(stage, {**options, "max_kld": 1e-20}), inputs, tmp_path / "none")
    assert kinds_of_matmul(tmp_path / "none") == {"8": 16}
    said = capfd.readouterr().out
    assert "15 of 15 MatMuls are integer" in said
    assert "0 of 15 MatMuls are integer, which costs 0.0000 nats; weight-only: /model" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all", "none"]


@pytest.mark.parametrize("options", [{"weight_only": "auto"}, {"max_kld": 0.01}])
def test_auto_and_its_limit_go_together(options: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match="`weight_only: auto` and `max_kld`"):
        load_stage(DYNAMIC, {"format": "onnx", "bits": 8, "method": "dynamic", **options})
