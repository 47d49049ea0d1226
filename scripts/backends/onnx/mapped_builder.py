"""onnxruntime-genai's builder with weights that stay on disk until they are written.

    python -m scripts.backends.onnx.mapped_builder -i BASE -o OUT -p fp32 -e cpu -c CACHE

It also tells the builder the context that a model's rotary embedding was made for.

The builder (0.11.4, models/builders/base.py) loads the model in float32 and keeps each converted
weight. Here the matrices are those of the safetensors files, mapped into memory, and each one is
converted when the external data is written, then forgotten. The bytes that come out are the same.
"""

import importlib
import runpy
import sys
import tempfile
from functools import partialmethod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from scripts.hashed_file import hashing
from scripts.lean import imports_are_done, start_lean
from scripts.progress import BYTES, Progress

BUILDER = "onnxruntime_genai.models.builder"


def load_mapped(folder: str) -> Any:
    """As AutoModelForCausalLM.from_pretrained: matrices in the type of the file and mapped, the
    rest in float32, since the builder computes with norms."""
    import torch
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    from scripts.tensors.header import tensors_in
    from scripts.tensors.mapped import mapped

    trust = any(Path(folder).glob("*.py"))  # the base holds code only where the recipe trusts it
    config = AutoConfig.from_pretrained(folder, trust_remote_code=trust, local_files_only=True)
    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(
            config, trust_remote_code=trust, dtype=torch.float32
        )
    state = {
        name: tensor if tensor.dim() == 2 else tensor.float()
        for name, tensor in mapped(tensors_in(Path(folder))).items()
    }
    model.load_state_dict(state, strict=False, assign=True)
    model.tie_weights()
    empty = [name for name, parameter in model.named_parameters() if parameter.is_meta]
    if empty:
        raise ValueError(f"{folder} has no tensors {', '.join(empty)}; build the base again")
    return model.eval().requires_grad_(False)


class Lazily:
    """What takes the place of the builder's own way to store a weight."""

    def __init__(self, scratch: str) -> None:
        self._scratch = scratch
        self._weights: set[int] = set()
        self._bytes = 0
        self._bar: Progress | None = None

    def load(self, folder: str, **_: object) -> Any:
        """As `load_mapped`, whose weights need no other place."""
        model = load_mapped(folder)
        imports_are_done()
        self._weights = {one.untyped_storage().data_ptr() for one in model.parameters()}
        return model

    def make_initializer(self, builder: Any, tensor: Any, /, name: str, to: Any = None) -> None:
        """Add `tensor` to the graph, converted to the type `to` whenever it is read."""
        import onnx_ir as ir
        import torch
        from onnx_ir.tensor_adapters import TorchTensor, to_torch_dtype

        if to is not None:
            kept, wanted = self._mapped(tensor), to_torch_dtype(to)
            self._bytes += kept.numel() * wanted.itemsize

            def convert() -> TorchTensor:
                self._bar = self._bar or Progress("writing", self._bytes, BYTES)
                converted = TorchTensor(kept.to(wanted), name=name)
                self._bar.advance(converted.nbytes)
                return converted

            made: ir.TensorProtocol = ir.LazyTensor(
                convert,
                dtype=to,
                shape=ir.Shape(tensor.shape),
                name=name,
            )
        elif isinstance(tensor, torch.nn.Parameter):
            made = TorchTensor(tensor, name=name)
        else:
            made = ir.tensor(tensor, name=name)
        value = builder.make_value(name, made.dtype, made.shape)
        value.const_value = made
        builder.model.graph.register_initializer(value)

    def _mapped(self, tensor: Any) -> Any:
        """A tensor that the builder made (q, k and v in one) goes into a file without a name."""
        import torch

        if tensor.untyped_storage().data_ptr() in self._weights or tensor.dim() < 2:
            return tensor
        with tempfile.NamedTemporaryFile(dir=self._scratch) as file:
            mapped = torch.from_file(
                file.name, shared=True, size=tensor.numel(), dtype=tensor.dtype
            )
        return mapped.view(tensor.shape).copy_(tensor)


def tell_original_context(config: Any) -> None:
    """Set what the builder takes rescaled frequencies from (Llama 3's, YaRN's): it looks for the
    entry of the dictionary `rope_scaling` by `hasattr`, and so takes the longest context."""
    name = "original_max_position_embeddings"
    scaling = getattr(config, "rope_scaling", None)
    if isinstance(scaling, dict) and scaling.get(name) and not hasattr(config, name):
        setattr(config, name, scaling[name])


def _call(builder: Any, function: Any, *given: object, **named: object) -> None:
    function(builder, *given, **named)


def main(arguments: list[str]) -> None:
    """Run the builder's own command line."""
    importlib.import_module("onnxruntime_genai.models")  # which makes the next one importable
    base: Any = importlib.import_module("builders.base")  # as the builder itself imports it
    cache = Path(arguments[arguments.index("-c") + 1])
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent) as scratch:
        lazily = Lazily(scratch)
        base.AutoModelForCausalLM = SimpleNamespace(from_pretrained=lazily.load)
        as_it_is = base.Model.__init__

        def begin(builder: Any, config: Any, *given: object, **named: object) -> None:
            tell_original_context(config)
            as_it_is(builder, config, *given, **named)

        base.Model.__init__ = begin
        base.Model.make_initializer = partialmethod(_call, lazily.make_initializer)
        sys.argv = [BUILDER, *arguments]
        with hashing(importlib.import_module("onnx_ir.external_data")):
            runpy.run_module(BUILDER, run_name="__main__")


if __name__ == "__main__":
    start_lean()
    main(sys.argv[1:])
