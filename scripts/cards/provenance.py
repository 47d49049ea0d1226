"""An in-toto statement of provenance: which files, made by what from what.

Specifications: in-toto attestation v1, and SLSA provenance v1 as its predicate. The statement is
not signed; signing is for whoever publishes (`cosign attest-blob --statement`).
"""

import json
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement

from scripts.cards.subject import Origin, Subject
from scripts.evaluation.result import Evaluation

PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:quantmake:action:v1"
BUILDER = "urn:quantmake"


def write_statement(subject: Subject, row: Evaluation, origin: Origin) -> str:
    """The statement on one artefact, as JSON without dates. Raises ValueError for none."""
    folder = "" if origin.kind == "file" else f"{row.artifact}/"
    files = [
        ResourceDescriptor(
            name=f"{folder}{file.path}" if folder else row.artifact, digest={"sha256": file.sha256}
        ).pb
        for file in origin.files
    ]
    statement = Statement(files, PREDICATE_TYPE, _predicate(subject, row, origin))
    statement.validate()
    message: dict[str, Any] = MessageToDict(statement.pb)
    # The specification's names; protobuf's own rendering gives `type`.
    message["_type"] = message.pop("type", None) or message.pop("_type", None)
    return json.dumps(message, indent=1, sort_keys=True) + "\n"


def _predicate(subject: Subject, row: Evaluation, origin: Origin) -> dict[str, Any]:
    modules = {f"module:{name}": digest for name, digest in origin.part("sources").items()}
    digests = [
        {"name": name, "digest": {"sha256": str(digest)}}
        for name, digest in (*origin.part("inputs").items(), *modules.items())
    ]
    packages = [
        {"name": name, "uri": f"pkg:pypi/{name}@{version}"}
        for name, version in origin.part("packages").items()
    ]
    predicate = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "source": subject.source_name,
                "recipe": subject.recipe,
                "artifact": row.artifact,
                "options": subject.artifacts[row.artifact],
            },
            "internalParameters": {
                "stage": origin.stage,
                "python": origin.parts.get("python"),
                "arithmetic": origin.parts.get("arithmetic"),
            },
            "resolvedDependencies": [*digests, *packages],
        },
        "runDetails": {"builder": {"id": BUILDER}, "metadata": {"invocationId": origin.key}},
    }
    # Parsing refuses names that the predicate does not have.
    parsed: dict[str, Any] = MessageToDict(ParseDict(predicate, Provenance()))
    return parsed
