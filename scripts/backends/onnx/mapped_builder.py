"""onnxruntime-genai's builder with weights that stay on disk until they are written.

    python -m scripts.backends.onnx.mapped_builder -i BASE -o OUT -p fp32 -e cpu -c CACHE

It also tells the builder what it overlooks in a configuration.

The builder (0.18.0, models/builders/base.py) loads the model in float32 and keeps each converted
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

from scripts.backends.onnx import builder_families as families
from scripts.hashed_file import hashing
from scripts.lean import imports_are_done, start_lean
from scripts.progress import BYTES, Progress

BUILDER = "onnxruntime_genai.models.builder"
_WIDTH = "kv_cache_dim"  # what the builder calls the width of heads in the cache


def load_mapped(folder: str) -> Any:
    """As AutoModelForCausalLM.from_pretrained: matrices in the type of the file and mapped, the
    rest in float32, since the builder computes with norms."""
    import torch
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    from scripts.base.published import Converted
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
        for name, tensor in Converted(model, mapped(tensors_in(Path(folder)))).items()
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

    def make_initializer(
        self, builder: Any, tensor: Any, /, name: str, to: Any = None, raw: bool = False
    ) -> None:
        """Add `tensor` to the graph, converted to the type `to` whenever it is read."""
        if raw:
            raise ValueError(f"{name} is quantised already; an fp32 graph has no such weights")
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


def _call(builder: Any, function: Any, *given: object, **named: object) -> None:
    function(builder, *given, **named)


def main(arguments: list[str]) -> None:
    """Run the builder's own command line."""
    importlib.import_module("onnxruntime_genai.models")  # which makes the next one importable
    base: Any = importlib.import_module("builders.base")  # as the builder itself imports it
    transformers: Any = importlib.import_module("transformers")  # another one than before
    cache = Path(arguments[arguments.index("-c") + 1])
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent) as scratch:
        lazily = Lazily(scratch)
        loading = SimpleNamespace(from_pretrained=lazily.load)
        for name in vars(base):
            if name.endswith(("ForCausalLM", "ForConditionalGeneration")):
                setattr(base, name, loading)
        as_it_is, shape_as_it_is = base.Model.__init__, base.Model.make_key_value_cache_shape
        turn_as_it_is = base.Model.make_attention_qk_rope
        scaled_as_it_is = base.Model.make_inv_freq_rescaled

        def begin(builder: Any, config: Any, *given: object, **named: object) -> None:
            families.tell(config)
            as_it_is(builder, config, *given, **named)
            builder.growth = families.queries_grow(config)
            builder.frequencies = families.frequencies_of(config)
            if builder.growth:  # of queries that have a matrix of their own
                builder.attention_attrs["use_packed_matmul"] = False

        def shape(builder: Any, layer: int, given: list[Any]) -> list[Any]:
            """With the width of heads as a number: the builder leaves it open, for caches that are
            quantised."""
            made: list[Any] = shape_as_it_is(builder, layer, given)
            return [builder.head_size if one == _WIDTH else one for one in made]

        def turn(builder: Any, layer: int, **named: object) -> Any:
            """Not at all in a layer without rotary positions, such as SmolLM 3's: the builder takes
            it for one that turns queries and keys in nodes of their own."""
            if builder.growth:
                families.scale_queries(builder, layer, builder.growth)
            is_left_out = builder.attention_attrs["op_type"] == "GroupQueryAttention"
            is_left_out &= not builder.attention_attrs["use_rope_in_attn"]
            if is_left_out and "position_ids" not in builder.input_names:
                return "", ""
            return turn_as_it_is(builder, layer, **named)

        def scaled(builder: Any, frequencies: Any) -> Any:
            """As they are where a model says no scaling, which the builder expects of gpt-oss."""
            if builder.frequencies is not None:
                return builder.frequencies
            is_scaled = "rescale_inv_freq" in builder.rope_attrs
            return scaled_as_it_is(builder, frequencies) if is_scaled else frequencies

        # It would write the commit of the folder that it runs in, whatever that is, into the graph.
        base.Model.get_genai_commit = classmethod(lambda _: None)
        base.Model.__init__ = begin
        base.Model.make_attention_qk_rope = turn
        base.Model.make_inv_freq_rescaled = scaled
        base.Model.make_key_value_cache_shape = shape
        base.Model.make_initializer = partialmethod(_call, lazily.make_initializer)
        sys.argv = [BUILDER, *arguments]
        with hashing(importlib.import_module("onnx_ir.external_data")):
            own, transformers.AutoConfig = transformers.AutoConfig, families.known_configs()
            try:  # it is the builder's alone: transformers itself has another use for it
                runpy.run_module(BUILDER, run_name="__main__")
            finally:
                transformers.AutoConfig = own


if __name__ == "__main__":
    start_lean()
    main(sys.argv[1:])
