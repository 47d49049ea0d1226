"""Tensors that a method does not support: what became of each is kept in the artefact.

ONNX has it in the model's metadata, Hugging Face folders in config.json, as a JSON object from
the tensor's name to words such as `is rounded to nearest: the capture has not seen its inputs`.
"""

from collections.abc import Mapping

KEY = "unsupported_tensors"


def told(outcomes: Mapping[str, str]) -> Mapping[str, str]:
    """The same, printed to the log."""
    for name, outcome in outcomes.items():
        print(f"{name} {outcome}")
    return outcomes


def sentences(outcomes: Mapping[str, str]) -> list[str]:
    """For the report: one for each outcome, with the names of its tensors."""
    names_by_outcome: dict[str, list[str]] = {}
    for name, outcome in outcomes.items():
        names_by_outcome.setdefault(outcome, []).append(name)
    return [
        f"the method does not support {len(names)} tensor{'s' * (len(names) > 1)}; each {outcome}. "
        f"They are: {', '.join(names)}."
        for outcome, names in names_by_outcome.items()
    ]
