"""`doit lm-eval` as people run it: the harness itself, on the tiny model and tasks of one's own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scripts.chat.speaker import Speaker
from scripts.recipe.load import load_all
from tests.checkout import Checkout, make_checkout
from tests.tiny import tiny_lines

CHOICES = """\
task: who-does-it
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""
ROLLING = """\
task: the-text
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{question}}}}"
metric_list: [{{metric: word_perplexity}}]
"""
GOES_ON = """\
task: goes-on
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{question}}}}"
generation_kwargs: {{until: ["."], max_gen_toks: 8}}
metric_list: [{{metric: exact_match}}]
"""


@pytest.fixture(scope="module")
def checkout(
    tiny_base: Path, tiny_f16: Path, tiny_text: Path, tmp_path_factory: pytest.TempPathFactory
) -> Checkout:
    """A checkout in which the base and an artefact lie where a build puts them, and three tasks."""
    made = make_checkout(tmp_path_factory.mktemp("harness"), tiny_base, tiny_text)
    made.artifacts = {"model.gguf": made.artifacts["model.gguf"]}
    made.write_recipe()
    shutil.copytree(tiny_base, made.folder / "cache/tiny/base")
    (made.folder / "quantized").mkdir()
    shutil.copy(tiny_f16, made.folder / "quantized/model.gguf")
    tasks = made.folder / "tasks"
    tasks.mkdir()
    questions = [line.rpartition(" ")[0] for line in tiny_lines(12, seed=7)]
    ends = [line.rpartition(" ")[2] for line in tiny_lines(12, seed=7)]
    lines = [
        {"question": question, "choices": [end, "zzz", "9q9"], "answer": 0}
        for question, end in zip(questions, ends, strict=True)
    ]
    data = tasks / "data.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name, text in {"choices": CHOICES, "rolling": ROLLING, "goes-on": GOES_ON}.items():
        (tasks / f"{name}.yaml").write_text(text.format(data=data))
    return made


def ask(checkout: Checkout, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`doit lm-eval`, with no hub."""
    cache = str(checkout.folder / "hub")
    return subprocess.run(
        [sys.executable, "-m", "doit", "lm-eval", *arguments],
        cwd=checkout.folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": cache, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_tasks_of_ones_own_are_measured_beside_fp16(checkout: Checkout) -> None:
    tasks = "who-does-it,the-text,goes-on"
    done = ask(checkout, "quantized/model.gguf", "--tasks", tasks, "--include", "tasks")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split("│") for line in done.stdout.splitlines() if "│" in line]
    by_metric = {row[2].strip(): [cell.strip() for cell in row[3:5]] for row in rows}
    assert by_metric["acc"][0].startswith("1.0000")
    assert by_metric["acc"] == by_metric["acc_norm"]
    base, artefact = (float(cell) for cell in by_metric["word_perplexity"])
    assert base == pytest.approx(artefact, rel=0.02)
    assert by_metric["exact_match"]
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_log_likelihood_is_that_of_the_whole_text(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scripts.harness.harness import Artefact

    monkeypatch.chdir(checkout.folder)
    recipe = next(iter(load_all()))
    speaker = Speaker(recipe, recipe.rows()[0])
    model = Artefact(speaker, "base")
    context, end = model.tok_encode("the miller carries"), speaker.tokenizer(" bread")["input_ids"]
    ((found, greedy),) = model._loglikelihood_tokens([(("", ""), context, end)])
    ids = np.array(context + end)
    logits = speaker.model.scores(ids, 0).astype(np.float64)
    logprobs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    places = np.arange(len(context) - 1, len(ids) - 1)
    assert found == pytest.approx(logprobs[places, ids[places + 1]].sum(), abs=1e-4)
    assert greedy == bool((logprobs.argmax(-1)[places] == ids[places + 1]).all())
    assert model.tok_encode("x", add_special_tokens=False) == model.tok_encode("x")[-1:]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "takes artefacts and tasks"),
        (("model.gguf", "--tasks", "who-does-its", "--include", "tasks"), 2, "'who-does-it'?"),
        (("model.ggu", "--tasks", "arc_easy"), 2, "did you mean 'model.gguf'?"),
        (("model.gguf", "--tasks", "arc_easy"), 1, "the data of arc_easy can't be had"),
    ],
)
def test_mistakes(checkout: Checkout, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = ask(checkout, *arguments)
    assert (done.returncode, said in done.stderr) == (code, True), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
