"""The whole graph on the tiny model, as a person would run it: build, change, break."""

import hashlib
import json
import random
import re
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from scripts.backends.format import Format, all_formats
from scripts.engine.build.action import Action
from scripts.engine.build.sources import module_file, source_digests, work_of
from scripts.exec import load_stage
from scripts.recipe.load import load_recipe
from tests.checkout import OTHER_METHODS, ROOT, Checkout, is_installed, make_checkout, ran
from tests.engine.build.test_interruptions import DRIVER, POINTS


@pytest.fixture(scope="module")
def built(tiny_base: Path, tiny_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy of the project in which `doit` has built the tiny recipe."""
    checkout = make_checkout(tmp_path_factory.mktemp("checkout"), tiny_base, tiny_text)
    done = checkout.doit()
    assert done.returncode == 0, done.stdout + done.stderr
    return checkout


def test_everything_is_there(built: Checkout) -> None:
    for name in built.artifacts:
        assert (built.folder / "quantized" / name).exists()
        record = json.loads((built.folder / f"cache/tiny/evaluation/{name}.json").read_text())
        assert record["quality"]["kld_mean"]["value"] < 1
    checked = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"],
        cwd=built.folder / "quantized",
        capture_output=True,
        check=False,
    )
    assert checked.returncode == 0
    report = (built.folder / "QUANTISATION-REPORT.md").read_text()
    assert all(name in report for name in built.artifacts)
    for chart in re.findall(r"\((charts/[^)]+\.svg)\)", report):
        assert (built.folder / chart).is_file()
    page = (built.folder / "quantized" / "report.html").read_text()
    assert all(name in page for name in built.artifacts)
    assert str(built.folder) not in report + page


def test_no_artefact_names_a_path_of_this_machine(built: Checkout) -> None:
    for path in (built.folder / "quantized").rglob("*"):
        if path.is_file():
            assert str(built.folder).encode() not in path.read_bytes(), path


def test_second_doit_runs_nothing(built: Checkout) -> None:
    done = built.doit()
    assert done.returncode == 0
    assert ran(done) == []
    assert "Nothing to do" in done.stdout


def test_published_is_what_is_built_and_nothing_stale(built: Checkout, tmp_path: Path) -> None:
    target, out = "quantized/model.gguf", tmp_path / "out"
    done = built.doit("publish", target, "--to", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=out, check=False)
    assert checked.returncode == 0
    assert (out / "model.gguf").read_bytes() == (built.folder / target).read_bytes()
    assert "FROM ./model.gguf\n" in (out / "Modelfile").read_text()
    assert "{{ .Content }}" in (out / "Modelfile").read_text()
    assert not (out / "recipes/tiny.yaml").exists()  # its sources are folders of this machine
    kept = dict(built.artifacts)
    built.artifacts["model.gguf"] = "{format: gguf, type: q5_0}"
    built.write_recipe()
    done = built.doit("publish", target, "--to", str(out))
    built.artifacts = kept
    built.write_recipe()
    assert done.returncode == 1
    assert f"{target} is stale (option type: q4_0 → q5_0)" in done.stderr


def test_changed_line_rebuilds_that_artefact_its_evaluation_and_the_report(
    built: Checkout,
) -> None:
    built.artifacts["model.gguf"] = "{format: gguf, type: q5_1}"
    built.write_recipe()
    found = ran(built.doit())
    assert sorted(found) == [
        "_origin:model.gguf",
        "_pages",
        "_texts",
        "artifact:model.gguf",
        "cards",
        "checksums",
        "evaluate:model.gguf",
        "report",
        "timings",
    ]


def test_comment_in_the_recipe_rebuilds_nothing(built: Checkout) -> None:
    recipe = built.folder / "recipes/tiny.yaml"
    recipe.write_text("# a comment\n" + recipe.read_text())
    assert ran(built.doit()) == []


def test_build_elsewhere_that_is_killed_12_times_gives_the_same_digests(
    built: Checkout, tiny_base: Path, tiny_text: Path, tmp_path: Path
) -> None:
    """`kill -9` of doit at seeded points of all tasks, evaluations and the report among them."""
    other = make_checkout(tmp_path, tiny_base, tiny_text)
    other.artifacts = {name: built.artifacts[name] for name in ("model-int8", "model.gguf")}
    other.write_recipe()
    (tmp_path / "driver.py").write_text(DRIVER)
    rng, kills = random.Random(0), 0
    points = [*POINTS, *["before the action"] * 4, *["before the state"] * 2]
    while kills < 12:
        code = other.python("driver.py", rng.choice(points), str(rng.randint(1, 2))).returncode
        assert code in (0, -signal.SIGKILL)
        kills += code != 0
        if code == 0:
            lost = rng.choice(sorted((tmp_path / "cache/tiny/evaluation").glob("*.json")))
            lost.unlink()
            (tmp_path / "cache/tiny/report/QUANTISATION-REPORT.md").unlink(missing_ok=True)
    done = other.doit()
    assert done.returncode == 0, done.stdout + done.stderr
    sums = Path("quantized/SHA256SUMS")
    found = (other.folder / sums).read_text().splitlines()
    assert len(found) > len(other.artifacts)
    assert set(found) <= set((built.folder / sums).read_text().splitlines())
    assert other.doit("verify", "--deep").returncode == 0
    assert not list(tmp_path.rglob(".scratch"))


def test_reproduce_says_that_each_artefact_is_the_same(built: Checkout) -> None:
    done = built.doit("reproduce")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("the same byte for byte") == len(built.artifacts)


def test_source_that_changed_is_refused(built: Checkout, tiny_base: Path, tmp_path: Path) -> None:
    other = make_checkout(tmp_path, tiny_base, built.text)
    recipe = other.folder / "recipes/tiny.yaml"
    found = re.search(r"sha256: ([0-9a-f]{64})", recipe.read_text())
    assert found is not None
    wrong = hashlib.sha256(b"something else").hexdigest()
    recipe.write_text(recipe.read_text().replace(found[1], wrong, 1))
    done = other.doit("base")
    assert done.returncode == 1
    assert wrong in done.stdout
    assert found[1] in done.stdout
    assert not list((other.folder / "cache/sources").glob("[0-9a-f]*"))


def test_recipe_mistake_ends_with_2_and_without_a_traceback(
    tiny_base: Path, tiny_text: Path, tmp_path: Path
) -> None:
    checkout = make_checkout(tmp_path, tiny_base, tiny_text)
    checkout.artifacts["x"] = "{format: onnx, bits: 8, method: statik}"
    checkout.write_recipe()
    done = checkout.doit()
    assert done.returncode == 2
    assert "did you mean 'static'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (checkout.folder / "quantized").exists()


def test_report_is_written_of_what_there_is(built: Checkout) -> None:
    """An artefact that can't be made is a row with its reason, and no other is lost."""
    kept = dict(built.artifacts)
    built.artifacts["model.gguf"] = "{format: gguf, type: auto, max_bytes: 1000}"
    built.write_recipe()
    done = built.doit("--continue", "report")
    assert done.returncode == 2  # what the recipe asks for can't be had
    assert "report: written without what failed." in done.stdout
    report = (built.folder / "QUANTISATION-REPORT.md").read_text()
    assert r"Write \`max\_bytes: " in report
    assert all(name in report for name in built.artifacts)
    built.artifacts = kept
    built.write_recipe()
    done = built.doit()
    assert done.returncode == 0, done.stdout + done.stderr
    assert r"Write \`max\_bytes: " not in (built.folder / "QUANTISATION-REPORT.md").read_text()


LOADED_WITHOUT_KEY = {"scripts.exec": "it starts the stage and hands it its paths"}


def test_what_a_stage_loads_is_in_its_key(built: Checkout) -> None:
    """The scan of imports sees all that the processes loaded, or a stage names it in `reaches`."""
    made = {type(one) for one in formats_of(built)}
    built.artifacts |= OTHER_METHODS
    built.write_recipe()
    installed = {kind for kind in all_formats() if is_installed(kind.backend)}
    assert made < {type(one) for one in formats_of(built)} == installed
    done = built.doit("capture", "gradients")
    assert done.returncode == 0, done.stdout + done.stderr
    run_in_forks(built, OTHER_METHODS)
    missing = set()
    for path in built.modules.iterdir():
        told = json.loads(path.read_text())
        stage = load_stage(told["stage"], told["options"])
        seen = source_digests(type(stage).__module__, *stage.reaches())
        missing |= {
            (type(stage).__name__, module)
            for module in set(told["modules"]) - set(seen) - set(LOADED_WITHOUT_KEY)
            if not makes_no_bytes(module)
        }
    assert missing == set()


def run_in_forks(checkout: Checkout, names: Iterable[str]) -> None:
    """Make artefacts of the recipe, each in a process of its own that starts at once."""
    recipe = load_recipe(checkout.folder / "recipes/tiny.yaml", is_default=True)
    orders = []
    for name in names:
        format, folder = recipe.artifacts[name], checkout.folder / "forked" / name
        folder.mkdir(parents=True)
        action = Action(format, recipe.inputs(format), folder / name)
        orders.append(folder / "action.json")
        orders[-1].write_text(action.to_json(action.target))
    done = checkout.python(str(ROOT / "tests/forked_stages.py"), *map(str, orders))
    assert done.returncode == 0, done.stdout + done.stderr


def makes_no_bytes(module: str) -> bool:
    """Whether a module says so, or is a docstring alone, as the packages' are."""
    file = module_file(module)
    assert file is not None, module
    work = work_of(file.read_bytes())
    return work is None or not work.body


def formats_of(checkout: Checkout) -> list[Format]:
    """The formats of the recipe's artefacts."""
    return list(
        load_recipe(checkout.folder / "recipes/tiny.yaml", is_default=True).artifacts.values()
    )
