"""The fp32 ONNX graph of an encoder, which every ONNX artefact of it starts from."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.backends.float_gate import ENCODERS, disagreement
from scripts.backends.onnx.encoder.names import IDS, MASK, STATES, TYPES
from scripts.errors import QuantmakeError
from scripts.footprints import FOOTPRINTS
from scripts.stage import Stage

_OPSET = 17
_EXAMPLE = (2, 8)


class EncoderGraph(Stage):
    """Export an encoder as an fp32 ONNX graph, for batches of any size and length

    torch's exporter traces it, onnxruntime's optimiser for transformers fuses what it knows:
    attention, the norms with their residuals, GELU. Weights of linear layers stay MatMuls.
    """

    footprint = FOOTPRINTS["onnx graph"]
    packages = ("onnx", "onnxruntime", "torch", "transformers")

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError where it can't be traced."""
        from scripts.backends.onnx.encoder.folder import copy_beside
        from scripts.backends.onnx.graph import open_graph, write_model

        base = inputs["base"].resolve()
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as scratch:
            made = Path(scratch)
            try:
                config = _trace(base, made / "traced.onnx")
            except Exception as error:  # of transformers' code, or of torch's
                said = str(error).strip().partition("\n")[0]
                raise QuantmakeError(
                    f"torch's exporter can't trace {_named(base)}: {type(error).__name__}: {said}. "
                    "Take the artefacts with format onnx out of the recipe."
                ) from error
            _fuse(made / "traced.onnx", made / "model.onnx", config)
            model = open_graph(made)
            _describe(model)
            write_model(model, out)
        copy_beside(base, out)

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """onnxruntime loads it, and it embeds as the base does, in batches too."""
        if other := disagreement("onnx", out, inputs["base"], ENCODERS):
            raise QuantmakeError(other)


def _named(base: Path) -> str:
    from scripts.base.config_json import read_json

    return ", ".join(read_json(base / "config.json")["architectures"])


def _trace(base: Path, out: Path) -> Any:
    """Write the graph of the states; returns the model's configuration."""
    import inspect
    import warnings

    import torch

    from scripts.base.encoder_model import encoder_model
    from scripts.texts import load_tokenizer

    model: Any = encoder_model(base, attention="eager")
    model.config.return_dict = False
    known = inspect.signature(model.forward).parameters
    names = [IDS, MASK]
    if TYPES in known and TYPES in load_tokenizer(base).model_input_names:
        names.append(TYPES)
    example = torch.ones(_EXAMPLE, dtype=torch.int64)
    given = {name: torch.zeros_like(example) if name == TYPES else example for name in names}
    plain = model.forward
    # The exporter hands on what is named by position, which transformers' own wrappers lose.
    model.forward = lambda *values: plain(**dict(zip(names, values, strict=True)))[0]
    axes = {0: "batch_size", 1: "sequence_length"}
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of tracing: the gate looks at what came of it
        torch.onnx.export(
            model,
            tuple(given.values()),
            str(out),
            input_names=names,
            output_names=[STATES],
            dynamic_axes=dict.fromkeys([*names, STATES], axes),
            opset_version=_OPSET,
            dynamo=False,
        )
    return model.config


def _fuse(traced: Path, out: Path, config: Any) -> None:
    """What onnxruntime fuses when it loads a graph, and attention beyond it; a MatMul of constants
    stays one for each linear layer, with its name."""
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model

    options = FusionOptions("bert")
    options.use_multi_head_attention = True
    options.enable_embed_layer_norm = False
    options.use_raw_attention_mask(True)
    fused = optimize_model(
        str(traced),
        "bert",
        num_heads=config.num_attention_heads,
        hidden_size=config.hidden_size,
        optimization_options=options,
        opt_level=0,
    )
    counts = fused.get_fused_operator_statistics()
    print("fused: " + ", ".join(f"{n} {name}" for name, n in counts.items() if n), flush=True)
    fused.save_model_to_file(str(out))


def _describe(model: Any) -> None:
    """No paths, no versions of tools but the operators' own."""
    model.producer_name, model.producer_version = "", ""
    for node in model.graph:
        node.doc_string = None
        node.metadata_props.clear()
