"""A CycloneDX ML-BOM: the artefact as a machine-learning model, its files, what it was made with.

Specification: CycloneDX 1.6, https://cyclonedx.org/docs/1.6/json/. cyclonedx-python-lib has no
model cards yet, so `modelCard` is put into what it writes; a test validates the whole with its
own validator.
"""

import json
import uuid
from typing import Any

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from scripts.cards.subject import Origin, Subject
from scripts.evaluation.result import Evaluation

# A name space of our own, so that the same artefact always has the same serial number.
_SPACE = uuid.UUID("6f0a2f5e-6c0f-5b63-9a55-3b1d6c1d7a10")


def write_bom(subject: Subject, row: Evaluation, origin: Origin) -> str:
    """The bill of one artefact, as JSON without a date: the same artefact gives the same text."""
    bom = Bom(serial_number=uuid.uuid5(_SPACE, origin.key))
    bom.metadata.component = model = _model(subject, row, origin)
    base = Component(
        name=subject.base_model or subject.model,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        description=f"the base, from {subject.source_name}",
        bom_ref="base",
        properties=[
            Property(name=f"quantmake:input:{name}", value=str(digest))
            for name, digest in origin.part("inputs").items()
        ],
    )
    packages = [
        Component(
            name=name,
            version=str(version),
            type=ComponentType.LIBRARY,
            purl=PackageURL("pypi", name=name, version=str(version)),
            bom_ref=f"pypi:{name}",
        )
        for name, version in origin.part("packages").items()
    ]
    for part in (*packages, base):
        bom.components.add(part)
    bom.register_dependency(model, [*packages, base])
    bill: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    del bill["metadata"]["timestamp"]
    bill["metadata"]["component"]["modelCard"] = model_card(subject, row)
    return json.dumps(bill, indent=1, sort_keys=True) + "\n"


def _model(subject: Subject, row: Evaluation, origin: Origin) -> Component:
    files = [
        Component(
            name=file.path,
            type=ComponentType.FILE,
            bom_ref=f"file:{file.path}",
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=file.sha256)],
        )
        for file in origin.files
    ]
    named = subject.card.license
    return Component(
        name=row.artifact,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=f"artifact:{row.artifact}",
        version=origin.key[:16],
        description=f"{subject.model}, {row.label}",
        licenses=[DisjunctiveLicense(name=named)] if named else None,
        components=files,
        properties=[
            Property(name="quantmake:action-key", value=origin.key),
            Property(name="quantmake:stage", value=origin.stage),
        ],
    )


def model_card(subject: Subject, row: Evaluation) -> dict[str, Any]:
    """The `modelCard` of the specification: what the model is, and its figures."""
    quality, embeds = row.quality, row.embedded is not None
    metrics = {
        "perplexity": row.first.perplexity,
        "mean KL divergence from FP16, nats": quality.kld_mean,
        "agreement with FP16's most likely token": quality.top1_agreement,
    }
    if embeds:
        metrics = {"mean cosine with FP16's embeddings": row.embeddings.cosine}
    return {
        "modelParameters": {
            "approach": {"type": "self-supervised"},
            "task": "feature-extraction" if embeds else "text-generation",
            "modelArchitecture": subject.model,
            "inputs": [{"format": "token ids"}],
            "outputs": [{"format": "embedding" if embeds else "logits"}],
        },
        "quantitativeAnalysis": {
            "performanceMetrics": [
                {
                    "type": name,
                    "value": f"{estimate.value:.6g}",
                    "confidenceInterval": {
                        "lowerBound": f"{estimate.value - 1.96 * estimate.se:.6g}",
                        "upperBound": f"{estimate.value + 1.96 * estimate.se:.6g}",
                    },
                }
                for name, estimate in metrics.items()
            ]
        },
    }
