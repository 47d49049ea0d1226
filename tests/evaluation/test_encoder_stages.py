"""An encoder on the yardstick: its base's embeddings, an artefact's, the timings; what the commands
say of it."""

import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from scripts.backends.encoder import load_encoder
from scripts.backends.onnx.encoder.export import EncoderGraph
from scripts.backends.onnx.encoder.formats import EncoderRtn
from scripts.base.encoder import EncoderBase
from scripts.errors import QuantmakeError
from scripts.evaluation.encoder import (
    EMBEDDINGS,
    EncoderEvaluate,
    EncoderReference,
    EncoderTimeAll,
)
from scripts.evaluation.encoder_score import measure
from scripts.evaluation.encoder_speed import Arm
from scripts.evaluation.result import MEASUREMENT, Embedded, Failed, Timings
from scripts.evaluation.score import Candidate
from scripts.exec import run_stage
from scripts.sentences import read_sentences
from tests.checkout import Checkout, make_checkout
from tests.conftest import Once
from tests.encoders import make_tiny_bert

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base(once: Once) -> Path:
    """The base of the tiny BERT."""
    source = once("bert", make_tiny_bert)
    return once("bert-base", partial(run_stage, EncoderBase(), {"source": source}))


@pytest.fixture(scope="module")
def int8(base: Path, once: Once) -> Path:
    """INT8 of it, weight-only."""
    graph = once("bert-graph", partial(run_stage, EncoderGraph(), {"base": base}))
    stage = EncoderRtn(format="onnx", bits=8, method="rtn")
    return once("bert-int8", partial(run_stage, stage, {"graph": graph}))


@pytest.fixture(scope="module")
def reference(base: Path, tiny_text: Path, once: Once) -> Path:
    """The base's embeddings of sentences of two kinds."""
    stage = EncoderReference(lines=(0, 80), kind="one", others={"two": (80, 150)}, sentences=24)
    inputs = {"base": base, "text": tiny_text, "text/two": tiny_text}
    return once("bert-reference", partial(run_stage, stage, inputs))


def test_base_is_one_and_int8_is_near(base: Path, int8: Path, reference: Path) -> None:
    own, other = (
        measure(Candidate(path.name, backend, path, base, reference))
        for path, backend in ((base, "pytorch"), (int8, "onnx"))
    )
    assert own.quality.cosine.value == pytest.approx(1)
    assert own.quality.spearman == pytest.approx(1)
    assert 0.99 < other.quality.cosine.value < 1
    assert [one.kind for one in other.texts] == ["one", "two"]
    assert other.quality == min((one.quality for one in other.texts), key=lambda q: q.cosine.value)
    assert other.size.tensor_types == {"GatherBlockQuantized 8-bit": 1, "MatMulNBits 8-bit": 12}
    assert (other.longest, other.truncated) == (48, 0)


def test_sentences_that_are_too_long_are_cut_and_counted(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n".join(f"{number} the miller" + " counts" * 60 for number in range(16)))
    (tmp_path / "out").mkdir()
    EncoderReference(lines=(0, 16), sentences=16).run(
        {"base": base, "text": text}, tmp_path / "out"
    )
    assert (
        "16 sentences; 16 were longer than the 48 tokens that the model" in capsys.readouterr().out
    )
    assert max(map(len, read_sentences(tmp_path / "out").all)) == 48
    assert np.load(tmp_path / "out" / EMBEDDINGS).shape == (16, 64)


def test_what_does_not_load_is_a_record(base: Path, reference: Path, tmp_path: Path) -> None:
    stage, out = EncoderEvaluate(artifact="broken", backend="onnx"), tmp_path / "broken.json"
    (tmp_path / "broken").mkdir()
    stage.run({"artifact": tmp_path / "broken", "base": base, "reference": reference}, out)
    record = MEASUREMENT.validate_json(out.read_bytes())
    assert isinstance(record, Failed)
    assert "does not load (onnx)" in record.reason
    assert not stage.is_settled(out)


def test_another_models_embeddings_are_refused(base: Path, int8: Path, tmp_path: Path) -> None:
    stage = EncoderReference(lines=(0, 16), sentences=16)
    text = tmp_path / "text.txt"
    text.write_text("\n".join(f"{number} the miller counts bread" for number in range(16)))
    (tmp_path / "out").mkdir()
    stage.run({"base": base, "text": text}, tmp_path / "out")
    np.save(tmp_path / "out" / EMBEDDINGS, np.ones((16, 8), np.float32))
    with pytest.raises(
        QuantmakeError, match="embeddings 64 wide, the base 8; they are not the same"
    ):
        measure(Candidate("int8", "onnx", int8, base, tmp_path / "out"))


def test_rows_are_timed_in_sentences(
    base: Path, int8: Path, reference: Path, tmp_path: Path
) -> None:
    arm = Arm(load_encoder("onnx", int8, threads=1), read_sentences(reference).all)
    arm.warm_up()
    assert min(arm.turn().values()) > 0
    stage = EncoderTimeAll(rows={"int8": "onnx"}, rounds=2)
    stage.run({"artifact/int8": int8, "reference": reference}, tmp_path / "timings.json")
    timings = Timings.model_validate_json((tmp_path / "timings.json").read_bytes())
    assert timings.failures == {}
    speed = timings.speeds["int8"]
    assert speed.sentences_per_s is not None
    assert (speed.sentences_per_s.repeats, np.isnan(speed.decode_tokens_per_s.median)) == (2, True)
    written = Embedded.model_validate_json(
        measure(Candidate("int8", "onnx", int8, base, reference)).model_dump_json()
    )
    assert written.artifact == "int8"


@pytest.fixture(scope="module")
def checkout(base: Path, int8: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout whose base and artefact, of the encoder, lie where a build puts them."""
    folder = tmp_path_factory.mktemp("encoder")
    text = folder / "text.txt"
    text.write_text("the miller counts bread at dawn.\n" * 300)
    (folder / "model").mkdir()
    made = make_checkout(folder, folder / "model", text)
    made.artifacts = {"model-int8": "{format: onnx, bits: 8, method: rtn}"}
    made.write_recipe()
    recipe = made.folder / "recipes/tiny.yaml"
    written = re.sub(
        r"\n  (off_grid|tokens|context|windows|tokenizer_pre): .*", "", recipe.read_text()
    )
    recipe.write_text(written.replace("  name: Tiny\n", "  name: Tiny\n  kind: encoder\n"))
    shutil.copytree(base, made.folder / "cache/tiny/base")
    shutil.copytree(int8, made.folder / "quantized/model-int8")
    return made


@pytest.mark.parametrize(
    ("command", "more"),
    [("chat", ()), ("demo", ()), ("lm-eval", ("--tasks", "x"))],
    ids=["chat", "demo", "lm-eval"],
)
def test_what_writes_text_is_refused(
    checkout: Checkout, command: str, more: tuple[str, ...]
) -> None:
    done = checkout.doit(command, "quantized/model-int8", *more)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: `doit {command}` needs a model that writes text; Tiny (recipes/tiny.yaml) is an "
        "encoder, which turns sentences into embeddings. See how similar its artefacts find "
        'sentences with `doit compare --recipe tiny "ONE" "ANOTHER"`\n'
    )


def test_compare_shows_similarities(checkout: Checkout) -> None:
    arguments = ("compare", "--only", "model-int8", "the cat paints", "the cat paints", "a river")
    done = checkout.doit(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"(base|model-int8) +1\.0000 +(-?0\.\d+)", done.stdout)
    assert [name for name, _ in rows] == ["base", "model-int8"]
    assert max(map(len, done.stdout.splitlines())) <= 80
    alone = checkout.doit("compare", "one")
    assert (alone.returncode, "takes two sentences or more" in alone.stderr) == (2, True)


def test_tasks_of_decoders_are_not_in_the_graph(checkout: Checkout) -> None:
    done = checkout.doit("list", "--all")
    tasks = {line.split()[0] for line in done.stdout.splitlines()}
    assert {"base", "graph", "capture", "reference"} < tasks
    code = "import dodo; print([*dodo.task_gradients()], [*dodo.task_sensitivity()])"
    assert checkout.python("-c", code).stdout == "[] []\n"
