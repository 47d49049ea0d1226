"""Every mistake of a recipe is reported at once, with file, line, key, found and allowed."""

from pathlib import Path

import pytest

from scripts.backends.format import all_formats
from scripts.errors import RecipeError
from scripts.recipe.load import default_name, load_all, load_recipe
from scripts.recipe.recipe import distinct_sources, memory_limits

GOOD = """\
model:
  source: path:models/tiny
  sha256: {digest}
calibration:
  text: path:text.txt
  sha256: {digest}
  lines: [150, 299]
  tokens: 2048
evaluation:
  text: path:text.txt
  sha256: {digest}
  lines: [0, 150]
artifacts:
  model-int8: {{format: onnx, bits: 8, method: rtn}}
  model-int4: {{format: bitsandbytes}}
  model.gguf: {{format: gguf, type: q4_0}}
""".format(digest="a" * 64)


OTHERS = f"  others:\n    code:\n      text: path:text.txt\n      sha256: {'a' * 64}\n"


def _formats() -> list[str]:
    return sorted({str(one["format"]) for kind in all_formats() for one in kind.selections()})


def _methods(bits: int) -> list[str]:
    """Of ONNX."""
    chosen = (options for kind in all_formats() for options in kind.selections())
    wanted = {"format": "onnx", "bits": bits}
    return sorted(str(one["method"]) for one in chosen if wanted.items() <= one.items())


def load(tmp_path: Path, text: str) -> str:
    """The error that a recipe gets."""
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, is_default=True)
    assert caught.value.exit_code == 2
    return str(caught.value).replace(str(path), "r.yaml")


def with_artifact(line: str) -> str:
    """The good recipe and one more artefact, in line 17."""
    return GOOD + f"  {line}\n"


def test_good_recipe_loads_with_defaults_filled_in(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(GOOD)
    recipe = load_recipe(tmp_path / "r.yaml", is_default=True)
    assert list(recipe.artifacts) == ["model-int8", "model-int4", "model.gguf"]
    assert recipe.artifacts["model-int4"].model_dump()["block_size"] == 64
    assert recipe.header.evaluation.windows == 20
    assert [row.name for row in recipe.rows()][:3] == ["base", "graph", "f16.gguf"]


@pytest.mark.parametrize(
    "other",
    [
        "hf:org/model@{commit}/q4.gguf",
        "hf:org/model@{commit}",
        "hf:org/model@{commit}/q8.gguf\n  trust_remote_code: true",
        "hf:fork/model@{commit}/q8.gguf",
    ],
    ids=["other file", "whole", "trusted", "other repository"],
)
def test_no_two_sources_share_a_folder(tmp_path: Path, other: str) -> None:
    """Files of one commit, say: the last one fetched would be taken for each of them."""
    commit, recipes = "c" * 40, []
    for number, source in enumerate(["hf:org/model@{commit}/q8.gguf", other]):
        text = GOOD.replace("path:models/tiny", source.format(commit=commit))
        text = text.replace(f"  sha256: {'a' * 64}\ncalibration", "calibration")
        (tmp_path / f"{number}.yaml").write_text(text)
        recipes.append(load_recipe(tmp_path / f"{number}.yaml", is_default=False))
    assert recipes[0].source != recipes[1].source
    assert len(distinct_sources(recipes)) == 3


def test_an_artefact_needs_what_its_options_ask_for(tmp_path: Path) -> None:
    line = "x.gguf: {format: gguf, type: auto, like: q4_0, method: gptq}"
    (tmp_path / "r.yaml").write_text(with_artifact(line))
    recipe = load_recipe(tmp_path / "r.yaml", is_default=True)
    assert list(recipe.inputs(recipe.artifacts["x.gguf"])) == ["f16", "capture", "gradients"]
    assert list(recipe.inputs(recipe.artifacts["model.gguf"])) == ["f16"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "x.gguf: {format: gguf, type: auto}",
            "line 17, artifacts.x.gguf: found {'format': 'gguf', 'type': 'auto'}; `type: auto` and "
            "one of `like` and `max_bytes` belong together",
        ),
        (
            "x: {format: gguff, type: q4_0}",
            "line 17, artifacts.x.format: 'gguff' is not a known format; did you mean 'gguf'? "
            f"allowed: {', '.join(_formats())}",
        ),
        (
            "x: {format: onnx, bits: 8, method: statik}",
            "line 17, artifacts.x.method: 'statik' is not a known method for format onnx with "
            f"bits 8; did you mean 'static'? allowed: {', '.join(_methods(8))}",
        ),
        (
            "x: {format: onnx, bits: 4, method: static}",
            "line 17, artifacts.x.method: 'static' is not a known method for format onnx with "
            f"bits 4; allowed: {', '.join(_methods(4))}",
        ),
        ("x: {format: onnx, bits: 3}", "line 17, artifacts.x.bits: 3 is not a known bits for"),
        ("x: {format: onnx, bits: 8}", "line 17, artifacts.x.method: is missing for format onnx"),
        (
            "x.gguf: {format: gguf, type: q4_o}",
            "line 17, artifacts.x.gguf.type: 'q4_o' is not a known type; did you mean 'q4_0'?",
        ),
        (
            "x: {format: bitsandbytes, blocksize: 64}",
            "line 17, artifacts.x.blocksize: 'blocksize' is not a known key; did you mean "
            "'block_size'?",
        ),
        ("x: q4_0", "line 17, artifacts.x: found 'q4_0'; write the format and its options"),
        ("../x: {format: bitsandbytes}", "'../x' leaves the folder `quantized/`"),
        ("/x: {format: bitsandbytes}", "'/x' leaves the folder `quantized/`"),
        ("./model-int4: {format: bitsandbytes}", "write the path './model-int4' in its plain form"),
        ("model-int4/x: {format: bitsandbytes}", "lies inside the artefact 'model-int4'"),
        ("model-int4: {format: bitsandbytes}", "stands twice, here and in line 15"),
        ("SHA256SUMS: {format: bitsandbytes}", "is a name that quantmake uses itself"),
        ("x: {format: gguf, type: q4_0}", "this format is one file; its name ends in .gguf"),
        ("x.gguf: {format: bitsandbytes}", "this format is a folder"),
        ("x=1: {format: bitsandbytes}", "or one of = : *"),
        ('"x\\ny": {format: bitsandbytes}', "holds a character that can't be printed"),
        ("a<b: {format: bitsandbytes}", "or one of = : *"),
    ],
)
def test_mistakes_in_artefacts(tmp_path: Path, line: str, message: str) -> None:
    assert message in load(tmp_path, with_artifact(line))


@pytest.mark.parametrize(
    ("line", "old", "new"),
    [
        ("x: {format: onnx, bits: 8, %s}", "method: weight-only", "method: rtn"),
        ("x: {format: onnx, bits: 4, %s}", "method: weight-only", "method: rtn"),
        ("x: {format: bitsandbytes, %s}", "rounding: nearest", "method: rtn"),
        ("x: {format: bitsandbytes, %s}", "rounding: gptq", "method: gptq"),
        ("x.gguf: {format: gguf, type: q4_0, %s}", "rounding: llama.cpp", "method: rtn"),
        ("x.gguf: {format: gguf, type: q4_0, %s}", "rounding: gptq", "method: gptq"),
        (
            "x: {format: onnx, bits: 4, method: awq, %s}",
            "on_misfit: float",
            "on_unsupported: float",
        ),
    ],
)
def test_old_spellings_are_refused_with_the_new_one(
    line: str, old: str, new: str, tmp_path: Path
) -> None:
    said = load(tmp_path, with_artifact(line % old))
    where = f"artifacts.{line.partition(':')[0]}.{old.partition(':')[0]}"
    assert said == f"r.yaml has 1 mistake:\n  line 17, {where}: `{old}` is now `{new}`"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "[150, 299]",
            "[100, 299]",
            "line 7, calibration.lines: lines 100 to 150 of the text are in calibration.lines and "
            "in evaluation.lines",
        ),
        ("[0, 150]", "[150, 150]", "line 12, evaluation.lines: found [150, 150], which holds no"),
        ("  tokens: 2048", "  tokens: 100", "calibration.tokens: found 100; one window needs 512"),
        ("  tokens: 2048", "  tokns: 2048", "'tokns' is not a known key; did you mean 'tokens'?"),
        ("model:\n", "modle:\n", "line 1, modle: 'modle' is not a known key; did you mean 'model'"),
        ("a" * 64 + "\ncal", "abc\ncal", "line 3, model.sha256: found 'abc'; a SHA-256 is 64 low"),
        (f"  sha256: {'a' * 64}\ncal", "cal", "model.sha256: is missing: every source but hf: is"),
        ("path:models/tiny", "pth:models/tiny", "line 2, model.source: "),
        ("[0, 150]", "[0, x]", "line 12, evaluation.lines.1: found 'x'"),
        ("artifacts:", "artifacts: [", "this is not YAML"),
        (
            "artifacts:",
            f"{OTHERS}      lines: [298, 400]\nartifacts:",
            "lines 298 to 299 of the text are in calibration.lines and in "
            "evaluation.others.code.lines",
        ),
        (
            "artifacts:",
            f"{OTHERS}      lines: [400, 400]\nartifacts:",
            "evaluation.others.code.lines: found [400, 400], which holds no line",
        ),
        (
            "  tokens: 2048\n",
            f"  tokens: 2048\n{OTHERS}      lines: [100, 400]\n      tokens: 100\n",
            "lines 100 to 150 of the text are in calibration.others.code.lines and in "
            "evaluation.lines",
        ),
        (
            "  tokens: 2048\n",
            f"  tokens: 2048\n{OTHERS}      lines: [300, 400]\n      tokens: 100\n",
            "calibration.others.code.tokens: found 100; one window needs 512",
        ),
        (
            "artifacts:",
            f"  kind: code\n{OTHERS}      lines: [400, 500]\nartifacts:",
            "evaluation.others.code: is the kind of `evaluation.text` too",
        ),
    ],
)
def test_mistakes_elsewhere(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    assert message in load(tmp_path, GOOD.replace(old, new, 1))


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hunter22@example.org/a.gguf",
        "https://example.org/a.gguf?X-Amz-Signature=hunter22&part=1",
        "https://example.org/a.gguf?access_token=hunter22",
        "s3://me:hunter22@bucket/a.gguf",
    ],
)
def test_secret_in_a_url_is_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    said = load(tmp_path, GOOD.replace("path:models/tiny", url))
    assert "line 2, model.source: the URL" in said
    assert "carries a password, a signature or a token" in said
    assert "hunter22" not in said


def test_query_without_a_secret_is_fine(tmp_path: Path) -> None:
    text = GOOD.replace("path:models/tiny", "https://example.org/a.gguf?version=3")
    (tmp_path / "r.yaml").write_text(text)
    assert load_recipe(tmp_path / "r.yaml", is_default=True).model.source.endswith("?version=3")


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    text = with_artifact("x: {format: onnx, bits: 3}").replace("tokens", "tokns")
    lines = load(tmp_path, text + "  y.gguf: {format: gguf, type: q9}\n").splitlines()
    assert lines[0] == "r.yaml has 3 mistakes:"
    assert [line.split(",")[0].strip() for line in lines[1:]] == ["line 8", "line 17", "line 18"]


@pytest.mark.parametrize("text", ["", "- a\n", "just words\n"])
def test_not_a_mapping(tmp_path: Path, text: str) -> None:
    assert "a recipe is a mapping with the keys" in load(tmp_path, text)


def test_defaults_that_depend_on_the_bits_are_filled_in(tmp_path: Path) -> None:
    lines = [
        "x4: {format: onnx, bits: 4, method: gptq}",
        "x8: {format: onnx, bits: 8, method: gptq}",
    ]
    (tmp_path / "r.yaml").write_text(with_artifact("\n  ".join(lines)))
    artifacts = load_recipe(tmp_path / "r.yaml", is_default=True).artifacts
    options = [artifacts[name].model_dump() for name in ("x4", "x8")]
    assert [(one["symmetric"], one["rounds"]) for one in options] == [(False, 3), (True, 3)]


def test_every_recipe_of_the_project_is_good() -> None:
    recipes = load_all()
    assert recipes[0].name == default_name()
    assert recipes[0].is_default


def test_every_format_can_be_selected_and_says_what_it_is() -> None:
    formats = all_formats()
    assert len({str(format.selector()) for format in formats}) == len(formats) >= 6
    for format in formats:
        assert (format.__doc__ or "").strip(), format


def test_default_recipe_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[tool.quantmake]\nrecipe = "smol"\n')
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/small.yaml").write_text(GOOD)
    with pytest.raises(RecipeError, match=r"there is no recipes/smol.yaml; did you mean 'small'"):
        load_all()
    (tmp_path / "recipes/smol.yaml").write_text(GOOD.replace("model-int8:", "small/model-int8:"))
    with pytest.raises(RecipeError, match=r"which is the folder of recipes/small.yaml"):
        load_all()


def test_budgets_and_tasks_reach_their_stages(tmp_path: Path) -> None:
    tasks = f"  tasks: {{quiz: {{source: 'path:quiz.jsonl', sha256: {'b' * 64}}}}}\n"
    text = GOOD.replace("artifacts:", tasks + "artifacts:")
    text += "budgets:\n  model-int8: {max_kld: 0.01, max_bytes: 98MB}\n"
    (tmp_path / "r.yaml").write_text(text)
    recipe = load_recipe(tmp_path / "r.yaml", is_default=True)
    assert recipe.header.budgets["model-int8"].limits() == {"max_kld": 0.01, "max_bytes": 98e6}
    assert recipe.header.evaluation.options()["tasks"] == ("quiz",)
    place = recipe.reference_inputs()["task/quiz"]
    assert place in distinct_sources([recipe])


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("  model-int9: {max_kld: 1}", "line 18, budgets.model-int9: 'model-int9' is not a known"),
        ("  model-int8: {max_kdl: 1}", "budgets.model-int8.max_kdl: 'max_kdl' is not a known key"),
        ("  model-int8: {}", "budgets.model-int8: found {}; value error, names no limit"),
        ("  model-int8: {max_kld: -1}", "budgets.model-int8.max_kld: found -1; input should be"),
    ],
)
def test_mistakes_in_budgets(lines: str, said: str, tmp_path: Path) -> None:
    assert said in load(tmp_path, f"{GOOD}budgets:\n{lines}\n")


def test_task_without_a_digest(tmp_path: Path) -> None:
    text = GOOD.replace("artifacts:", "  tasks: {quiz: {source: 'path:q.jsonl'}}\nartifacts:")
    assert "evaluation.tasks.quiz.sha256: is missing" in load(tmp_path, text)


def test_limits_of_memory_and_of_files_are_sizes(tmp_path: Path) -> None:
    text = GOOD.replace("model:\n", "max_memory: 8GiB\nmodel:\n  max_shard_size: 2GB\n", 1)
    (tmp_path / "r.yaml").write_text(text)
    recipe = load_recipe(tmp_path / "r.yaml", is_default=False)
    assert recipe.model.options()["max_shard_size"] == 2_000_000_000
    limit = memory_limits([recipe])("artifact@r:model-int8")
    assert limit is not None
    assert (limit.amount, limit.reason) == (8 << 30, f"max_memory in {tmp_path / 'r.yaml'}")
    assert memory_limits([recipe])("artifact:model-int8") is None


@pytest.mark.parametrize("found", ["lots", "0", "-1", "[1, 2]"])
def test_what_is_no_size_is_refused(found: str, tmp_path: Path) -> None:
    said = load(tmp_path, f"max_memory: {found}\n{GOOD}")
    assert "line 1, max_memory: found" in said
    if found == "lots":
        assert said.endswith("found 'lots'; write a size, such as 8GiB or 98MB")


@pytest.mark.parametrize("text", ["model: &a\n  source: *a\n", "a: " + "[" * 5000 + "]" * 5000])
def test_yaml_without_end(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match="it is nested without end, by an anchor"):
        load_recipe(path, is_default=True)
