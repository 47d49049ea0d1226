"""The seeded model, and the table of what its stages take."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts.benchmarks.arms import ARMS, Arm
from scripts.benchmarks.big_models import main
from scripts.benchmarks.seeded_model import SIZES, write_seeded_model
from scripts.errors import MachineError
from scripts.exec import from_command_line

pytestmark = pytest.mark.slow  # its arms are processes


def test_same_bytes_again_in_shards_that_transformers_loads(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_seeded_model(tmp_path / name, SIZES["10M"], 4_000_000)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert sum(name.startswith("model-0") for name in files) > 2
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "a", dtype=torch.float32)
    tokens = AutoTokenizer.from_pretrained(tmp_path / "a")("Hello", return_tensors="pt")
    assert torch.isfinite(model(**tokens).logits).all()
    assert model.model.layers[0].mlp.up_proj.weight.detach().std() == pytest.approx(0.02, rel=0.05)


def test_size_that_does_not_fit_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10**6}))
    with pytest.raises(MachineError, match=r"this needs 13\.\d GB"):
        write_seeded_model(tmp_path, SIZES["7B"], 10**9)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow  # it runs stages
def test_table_has_a_row_for_each_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--size", "10M", "--folder", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    for name in ("cp", "bitsandbytes' quantiser", "import", "nf4"):
        assert f"│ {name} " in said
    assert not list(tmp_path.iterdir())
    assert max(map(len, said.splitlines())) <= 80


@pytest.mark.parametrize("arm", [a for a in ARMS.values() if a.arguments[1] == "scripts.exec"])
def test_stages_of_the_benchmark_exist(arm: Arm) -> None:
    _, inputs, out = from_command_line(list(arm.arguments[2:]))
    assert (tuple(map(str, inputs.values())), str(out)) == (arm.reads, arm.out)


def test_unknown_stage_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "nf5"])
    assert "unknown stages: nf5; there are import, nf4" in capsys.readouterr().err
