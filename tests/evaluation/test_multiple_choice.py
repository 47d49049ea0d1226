"""Multiple choice: scored by log-likelihood per byte, in every backend alike."""

import json
from pathlib import Path

import numpy as np
import pytest

from scripts.backends.model import load_model
from scripts.errors import QuantmakeError
from scripts.evaluation.evaluate import Evaluate
from scripts.evaluation.multiple_choice import choose, read_items, read_scored, score_task
from scripts.evaluation.reference import Reference
from scripts.evaluation.result import Measured
from scripts.exec import run_stage
from scripts.texts import load_tokenizer

QUESTIONS = [
    {"question": "The miller carries", "choices": ["nine apples", "xq zzj kkw"], "answer": 0},
    {"question": "Old agnes paints", "choices": ["7 7 7 7", "a blue door"], "answer": 1},
    {"question": "A heron counts", "choices": ["letters", "the the the"], "answer": 1, "id": 3},
]


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of three questions; the last one's answer is wrong on purpose."""
    path = tmp_path_factory.mktemp("questions") / "set.jsonl"
    path.write_text("\n".join(map(json.dumps, QUESTIONS)) + "\n\n")
    return path


@pytest.fixture(scope="module")
def reference(
    tiny_base: Path, tiny_text: Path, questions: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The yardstick with the set."""
    folder = tmp_path_factory.mktemp("reference")
    stage = Reference(lines=(0, 100), windows=2, context=128, tasks=("animals",))
    run_stage(stage, {"base": tiny_base, "text": tiny_text, "task/animals": questions}, folder)
    return folder


@pytest.mark.parametrize("backend", ["pytorch", "onnx", "gguf"])
def test_every_runtime_answers_as_the_base(
    backend: str,
    tiny_base: Path,
    tiny_graph: Path,
    tiny_f16: Path,
    reference: Path,
    tmp_path: Path,
) -> None:
    artifact = {"pytorch": tiny_base, "onnx": tiny_graph, "gguf": tiny_f16}[backend]
    inputs = {"artifact": artifact, "base": tiny_base, "reference": reference}
    run_stage(Evaluate(artifact="x", backend=backend), inputs, tmp_path / "x.json")
    score = Measured.model_validate_json((tmp_path / "x.json").read_bytes()).tasks["animals"]
    assert score.items == 3
    assert score.accuracy.value == pytest.approx(2 / 3)
    assert score.accuracy.se == pytest.approx(np.sqrt(2 / 27))
    assert (score.agreement.value, score.lost, score.won) == (1, 0, 0)


def test_likelihood_is_per_byte_by_the_definition(tiny_base: Path, questions: Path) -> None:
    tokenizer = load_tokenizer(tiny_base)
    model = load_model("pytorch", tiny_base, threads=1, context=256)
    (item, *_) = read_items(questions, tokenizer, "animals")
    found = []
    for choice, text in zip(item.choices, QUESTIONS[0]["choices"], strict=True):  # type: ignore[call-overload]
        total = 0.0
        for place, token in enumerate(choice):
            logits = model.prefill(np.array(item.question + choice[:place])).astype(np.float64)
            total += logits[token] - np.log(np.exp(logits).sum())
        found.append(total / len(f" {text}".encode()))
    assert choose(model, item) == int(np.argmax(found)) == 0
    assert item.lengths == [len(" nine apples"), len(" xq zzj kkw")]


def test_other_answers_are_counted_as_lost_and_won(reference: Path) -> None:
    task = read_scored(reference)["animals"]

    class Contrary:
        """Prefers what the base does not."""

        def scores(self, tokens: np.ndarray, first: int) -> np.ndarray:
            logits = np.zeros((len(tokens) - first, 512), np.float32)
            for item, base in zip(task.items, task.base, strict=True):
                contrary = item.choices[1 - base]
                if tokens.tolist() == item.question + contrary[:-1]:
                    logits[np.arange(len(contrary)), contrary] = 30
            return logits

    score = score_task(task, Contrary(), "animals")  # type: ignore[arg-type]
    assert (score.lost, score.won) == (2, 1)
    assert score.agreement.value == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"question": "a", "choices": ["b"], "answer": 0}', "line 1: choices: "),
        ('{"question": "a", "choices": ["b", "c"], "answer": 2}', "line 1: answer 2, but there"),
        ('{"choices": ["b", "c"], "answer": 1}', "line 1: question: Field required"),
        ("half of a li", "line 1: the line: Invalid JSON"),
        ("", "has no line"),
    ],
)
def test_bad_line_is_named(line: str, said: str, tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "set.jsonl").write_text(line + "\n")
    with pytest.raises(QuantmakeError, match=f"the task animals.*{said}"):
        read_items(tmp_path / "set.jsonl", load_tokenizer(tiny_base), "animals")
