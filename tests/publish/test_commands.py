"""`doit publish` as people run it, to a hub on loopback and into folders."""

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.publish.hub_server import FIRST, TOKEN, Hub
from tests.publish.project import Published, make_published
from tests.sources.loopback import serve


@pytest.fixture
def project(tmp_path: Path) -> Published:
    return make_published(tmp_path)


@pytest.fixture
def hub() -> Iterator[tuple[Hub, dict[str, str]]]:
    """A hub, and the environment that leads there; it speaks the storage's older protocol, LFS."""
    made = Hub()
    with serve(made.handler()) as address:
        yield made, {"HF_ENDPOINT": address, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}


def files_below(folder: Path) -> set[str]:
    return {one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file()}


def test_what_goes_along(project: Published) -> None:
    (project.target("model.gguf").with_name("model.gguf.model.sig")).write_text("{}")
    done = project.publish("quantized/model.gguf", "--to", "out/gguf")
    assert done.returncode == 0, done.stdout + done.stderr
    out = project.folder / "out/gguf"
    assert files_below(out) == {
        *("model.gguf", "README.md", "bom.cdx.json", "provenance.intoto.json", "model.sig"),
        *("QUANTISATION-REPORT.md", "charts/sizes.svg", "recipes/tiny.lock", "SHA256SUMS"),
    }
    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=out, check=False)
    assert checked.returncode == 0
    lock = json.loads((out / "recipes/tiny.lock").read_text())
    assert list(lock["targets"]) == ["quantized/model.gguf"]


def test_recipe_goes_along_where_it_names_no_folder_of_this_machine(project: Published) -> None:
    recipe = project.folder / "recipes/tiny.yaml"
    lines = recipe.read_text().splitlines()
    text = f"path:{project.checkout.text}"
    model = f"path:{project.checkout.model}"
    moved = "\n".join(lines).replace(text, "https://example.org/text.txt")
    recipe.write_text(moved.replace(model, "hf:org/tiny@" + "0" * 40))
    done = project.publish("quantized/model.gguf", "--to", "out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project.folder / "out/recipes/tiny.yaml").read_text() == recipe.read_text()


def test_to_the_hub_and_again(project: Published, hub: tuple[Hub, dict[str, str]]) -> None:
    server, environment = hub
    command = ("quantized/model-int8", "--to", "hf:org/tiny-int8")
    done = project.publish(*command, "--dry-run", **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "model-int8 → hf:org/tiny-int8: 9 files, 0.0 MB; 9 of them to send" in done.stdout
    assert "    onnx/model.onnx                 20,000\n" in done.stdout
    assert server.wrote() == []
    done = project.publish(*command, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"✓ model-int8 → {environment['HF_ENDPOINT']}/org/tiny-int8" in done.stdout
    assert TOKEN not in done.stdout + done.stderr
    repository = server.repositories["org/tiny-int8"]
    assert repository.private
    assert repository.files()["onnx/model.onnx"] == b"onnx" * 5000
    server.asked.clear()
    done = project.publish(*command, **environment)
    assert "hf:org/tiny-int8 has it already; nothing to send" in done.stdout
    assert server.wrote() == []
    done = project.publish(*command, "--public", **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not repository.private
    assert len(repository.commits) == 2


def test_several_get_a_repository_each(project: Published, hub: tuple[Hub, dict[str, str]]) -> None:
    server, environment = hub
    both = ("quantized/model-int8/", "./quantized/model.gguf")
    done = project.publish(*both, "--to", "hf:org/tiny", **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(server.repositories) == {"org/tiny-model-int8", "org/tiny-model.gguf"}
    done = project.publish(*both, "--to", "hf:org/all@{artifact}", **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    every = server.repositories["org/all"]
    assert set(every.branches) == {"main", "model-int8", "model.gguf"}
    assert every.files() == FIRST
    assert "model.gguf" not in every.files("model-int8")


def test_damaged_artefact_is_refused_before_any_goes(
    project: Published, hub: tuple[Hub, dict[str, str]]
) -> None:
    server, environment = hub
    path = project.target("model.gguf")
    path.write_bytes(path.read_bytes().replace(b"GGUF", b"GGUV", 1))
    both = ("quantized/model-int8", "quantized/model.gguf")
    done = project.publish(*both, "--to", "hf:org/tiny", **environment)
    assert done.returncode == 1
    assert done.stderr == (
        "error: quantized/model.gguf is damaged: its files are not what its manifest says. `doit "
        "verify --deep` names them, `doit quantized/model.gguf` builds it again.\n"
    )
    assert server.asked == []


def test_artefact_that_the_lock_does_not_name_is_refused(project: Published) -> None:
    lock = project.folder / "recipes/tiny.lock"
    digest = hashlib.sha256(project.target("model.gguf").read_bytes()).hexdigest()
    lock.write_text(lock.read_text().replace(digest, "0" * 64))
    done = project.publish("quantized/model.gguf", "--to", "out")
    assert done.returncode == 1
    assert done.stderr == (
        "error: quantized/model.gguf is stale (recipes/tiny.lock does not say what "
        "quantized/model.gguf is); run `doit` and publish then\n"
    )


def test_card_of_an_earlier_build_is_refused(project: Published) -> None:
    statement = project.target("model-int8") / "provenance.intoto.json"
    statement.write_text(statement.read_text().replace("abab", "cdcd", 1))
    done = project.publish("quantized/model-int8", "--to", "out")
    assert done.returncode == 1
    assert "quantized/model-int8 has no model card, or one of an earlier build" in done.stderr


def test_chart_that_is_missing_is_told(project: Published) -> None:
    (project.folder / "charts/sizes.svg").unlink()
    done = project.publish("quantized/model-int8", "--to", "out")
    assert done.returncode == 1
    assert "QUANTISATION-REPORT.md shows charts/sizes.svg, which is not there" in done.stderr


def test_rejected_artefact_is_not_shipped(project: Published) -> None:
    kept = project.folder / "quantized/.rejected/model.gguf"
    kept.parent.mkdir()
    project.target("model.gguf").rename(kept)
    (project.folder / "quantized/.manifests/model.gguf.json").unlink()
    done = project.publish("quantized/model.gguf", "--to", "out")
    assert done.returncode == 1
    assert "quantized/model.gguf broke its budget and was set aside in" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "doit publish takes artefacts and a place: doit publish quantized/model-int8"),
        (("quantized/model-int8",), 2, "doit publish takes artefacts and a place"),
        (("quantized/model-int9", "--to", "out"), 2, "did you mean 'quantized/model-int8'?"),
        (("quantized/model-int4", "--to", "out"), 1, "is not built yet; run `doit quantized/mod"),
        (
            ("quantized/model-int8", "--to", "hf:tiny"),
            2,
            "'hf:tiny': a repository is ORG/NAME",
        ),
        (("quantized/model-int8", "--to", "s3://b/x"), 2, "it has the unknown scheme 's3'; write"),
        (("quantized/model-int8", "--to", "out", "--public"), 2, "--public opens a repository"),
        (("quantized/model-int8", "--to", "hf:org/tiny"), 3, "there is no token of the hub"),
        (("quantized/model-int8", "--tow", "x"), 2, "option --tow not recognized"),
    ],
)
def test_mistakes(project: Published, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = project.publish(*arguments)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_hub_out_of_reach_is_the_machines_fault(project: Published) -> None:
    away = {"HF_ENDPOINT": "http://127.0.0.1:1", "HF_TOKEN": TOKEN}
    done = project.publish("quantized/model-int8", "--to", "hf:org/tiny", **away)
    assert done.returncode == 3
    assert done.stderr.startswith("error: hf:org/tiny: the hub can't be reached")
    assert TOKEN not in done.stdout + done.stderr
