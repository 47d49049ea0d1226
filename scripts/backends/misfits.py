"""Tensors that a method does not fit: what became of each stays in the artefact, for its report.

ONNX has it in the model's metadata, Hugging Face folders in config.json, as a JSON object from
the tensor's name to words such as `is rounded to nearest: the capture has not seen its inputs`.
"""

from collections.abc import Mapping

KEY = "quantisation_misfits"


def told(misfits: Mapping[str, str]) -> Mapping[str, str]:
    """The same, printed to the log."""
    for name, fate in misfits.items():
        print(f"{name} {fate}")
    return misfits


def sentences(misfits: Mapping[str, str]) -> list[str]:
    """For the report: each fate with all the tensors that it befell."""
    by_fate: dict[str, list[str]] = {}
    for name, fate in misfits.items():
        by_fate.setdefault(fate, []).append(name)
    return [
        f"the method does not fit {len(names)} tensor{'s' * (len(names) > 1)}; each {fate}. "
        f"They are: {', '.join(names)}."
        for fate, names in by_fate.items()
    ]
