"""Cards, bills of materials and provenance: read back by the libraries of their formats."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.cards.subject import CardFacts, Subject
from scripts.cards.write_cards import Cards
from scripts.errors import QuantmakeError
from scripts.exec import run_stage
from scripts.report.lineup import Lineup
from tests.cards.test_modelfile import make_base
from tests.report.factory import facts_of, failure, inputs_of, usual
from tests.tiny import CHAT_TEMPLATE

FACTS = {"base_model": "org/tiny", "license": "apache-2.0", "language": ["en"]}
SHA256 = hashlib.sha256(b"").hexdigest()


def origin(path: Path, kind: str, *files: str) -> Path:
    """What the build keeps of an artefact, as JSON."""
    entries = [{"path": name, "size": 7, "sha256": SHA256} for name in files]
    parts = {
        "stage": "scripts.backends.formats.x:X",
        "options": {"bits": 8},
        "inputs": {"graph": SHA256},
        "sources": {"scripts.stage": SHA256},
        "packages": {"onnx": "1.23.2"},
        "python": "3.11",
        "arithmetic": {"machine": "x86_64"},
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"key": "ab" * 32, "parts": parts, "kind": kind, "files": entries}))
    return path


def subject(rows: Lineup, **changes: Any) -> Subject:
    """What the cards of these rows are of."""
    return Subject(**dict(facts_of(rows, **changes)), card=CardFacts.model_validate(FACTS))


def write(folder: Path, **changes: Any) -> Path:
    """The cards of the usual line-up."""
    rows = usual()
    stage = Cards(subject=subject(rows, **changes))
    inputs = {**inputs_of(rows, folder / "evaluation"), "base": folder / "base"}
    make_base(folder / "base", CHAT_TEMPLATE)
    for row in rows.artifacts:
        is_file = row.artifact.endswith(".gguf")
        files = (row.artifact,) if is_file else ("config.json", "model.onnx")
        place = folder / "origin" / f"{row.artifact}.json"
        inputs[f"origin/{row.artifact}"] = origin(place, "file" if is_file else "folder", *files)
    run_stage(stage, inputs, folder / "cards")
    return folder / "cards"


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cards of the usual line-up."""
    return write(tmp_path_factory.mktemp("cards"))


def test_front_matter_is_what_the_hub_reads(cards: Path) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(cards / "model-int8/README.md")
    assert card.data.base_model == "org/tiny"
    assert card.data.license == "apache-2.0"
    assert card.data.to_dict()["base_model_relation"] == "quantized"
    assert "onnx" in card.data.tags
    _, front, text = (cards / "model.gguf.README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "gguf"
    assert "0.310" in text
    assert "ab" * 32 in text
    assert 'path = "model.gguf"' in text


def test_figures_are_those_of_the_report(cards: Path) -> None:
    text = (cards / "model-int8/README.md").read_text().replace("\u00a0", " ")
    assert "| KLD | 0.0046 ± 0.0001 | ≈ 0 |" in text
    assert "| size MB | 155.0 | 269.0 |" in text
    assert "indistinguishable in practice" in text
    assert "`{format: onnx, bits: 8, weight_only: [lm_head], fast: true}`" in text
    assert "```sh\ndoit --locked quantized/model-int8\n```" in text


def test_bill_of_materials_is_valid_and_holds_the_digests(cards: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    for path in (cards / "model-int8/bom.cdx.json", cards / "model.gguf.bom.cdx.json"):
        text = path.read_text()
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
        found = json.loads(text)
        model = found["metadata"]["component"]
        assert model["type"] == "machine-learning-model"
        assert {part["hashes"][0]["content"] for part in model["components"]} == {SHA256}
        metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
        assert "mean KL divergence from FP16, nats" in [one["type"] for one in metrics]
        assert "pkg:pypi/onnx@1.23.2" in [part.get("purl") for part in found["components"]]
        assert "timestamp" not in text


def test_modelfile_lies_beside_what_ollama_loads(cards: Path) -> None:
    text = (cards / "model.gguf.Modelfile").read_text()
    assert "FROM ./model.gguf\n" in text
    assert "ollama create" in (cards / "model.gguf.README.md").read_text()
    assert not (cards / "model-int8/Modelfile").exists()
    assert "ollama create" not in (cards / "model-int8/README.md").read_text()


def test_statement_of_provenance_is_valid(cards: Path) -> None:
    from google.protobuf.json_format import Parse
    from in_toto_attestation.v1.statement import Statement
    from in_toto_attestation.v1.statement_pb2 import Statement as Message

    text = (cards / "model-int8/provenance.intoto.json").read_text()
    assert json.loads(text)["_type"] == "https://in-toto.io/Statement/v1"
    statement = Statement.copy_from_pb(Parse(text, Message()))
    statement.validate()
    subjects = {one.name: one.digest["sha256"] for one in statement.pb.subject}
    assert subjects == {"model-int8/config.json": SHA256, "model-int8/model.onnx": SHA256}
    definition = json.loads(text)["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["artifact"] == "model-int8"
    assert {one["name"] for one in definition["resolvedDependencies"]} == {
        "graph",
        "module:scripts.stage",
        "onnx",
    }
    single = json.loads((cards / "model.gguf.provenance.intoto.json").read_text())
    assert [one["name"] for one in single["subject"]] == ["model.gguf"]


def test_same_evaluations_give_the_same_bytes(cards: Path, tmp_path: Path) -> None:
    other = write(tmp_path)
    files = sorted(path.relative_to(cards) for path in cards.rglob("*") if path.is_file())
    of_ollama = [row for row in usual().artifacts if row.backend == "gguf"]
    assert len(files) == 3 * len(usual().artifacts) + len(of_ollama)
    for name in files:
        assert (cards / name).read_bytes() == (other / name).read_bytes(), name


def test_rejected_artefact_gets_none(tmp_path: Path) -> None:
    out = write(tmp_path, budgets={"model-int8": {"max_kld": 0.001}})
    assert not (out / "model-int8").exists()
    assert (out / "model-int4/README.md").exists()


def test_artefact_that_was_not_measured_gets_none(tmp_path: Path) -> None:
    write(tmp_path)
    lost = failure("model-int4", "it does not load")
    rows = usual()
    stage_inputs = {**inputs_of(rows, tmp_path / "evaluation"), "base": tmp_path / "base"}
    stage_inputs["evaluation/model-int4"].write_text(lost)
    for row in rows.artifacts:
        stage_inputs[f"origin/{row.artifact}"] = tmp_path / "origin" / f"{row.artifact}.json"
    run_stage(Cards(subject=subject(rows)), stage_inputs, tmp_path / "again")
    assert not (tmp_path / "again/model-int4").exists()
    assert (tmp_path / "again/model-int8/README.md").exists()


def test_broken_origin_is_named(tmp_path: Path) -> None:
    from scripts.cards.subject import read_origin

    (tmp_path / "x.json").write_text('{"key": "k"}')
    with pytest.raises(QuantmakeError, match=r"x\.json can't be read: Field required"):
        read_origin(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("source", "facts", "base"),
    [
        ("hf:org/tiny@abc", {}, "org/tiny"),
        ("hf:org/tiny@abc", {"base_model": "other/base"}, "other/base"),
        ("path:models/tiny", {}, None),
    ],
)
def test_base_on_the_hub(source: str, facts: dict[str, str], base: str | None) -> None:
    card = CardFacts.model_validate(facts)
    found = Subject(**dict(facts_of(usual(), source=source)), card=card)
    assert found.base_model == base


def test_no_folder_of_this_machine_is_told(tmp_path: Path) -> None:
    out = write(tmp_path, source="path:/somewhere/on/this/machine/model.gguf")
    for path in out.rglob("*"):
        if path.is_file():
            assert not re.search("somewhere", path.read_text())
