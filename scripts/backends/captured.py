"""What the calibration's capture says of the MatMuls of the float graph."""

from typing import Protocol

import torch

from scripts.calibration.stored import Captured

_LFM = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}
_GRANITE = {"gate_proj": "input_linear", "up_proj": "input_linear", "down_proj": "output_linear"}
_LINEAR = ("qkv", "z", "b", "a")  # projections of Qwen 3.5's linear attention


class Named(Protocol):
    """A MatMul by its node's name, such as /model/layers.0/mlp/down_proj/MatMul."""

    @property
    def name(self) -> str: ...


def captured_name(linear: Named, captured: Captured) -> str | None:
    """The Hugging Face name of a MatMul's linear; of merged ones (qkv_proj) that of the first."""
    parts = linear.name.removesuffix("/MatMul").removesuffix("/Gemm").strip("/").replace("/", ".")
    named = parts.replace(".attn.", ".self_attn.").replace("qkv_proj", "q_proj")
    # The builder has one name for what families call by several.
    others = [named.replace("o_proj", other) for other in ("dense", "out_proj")]
    others += [named.replace(f".mlp.{one}", f".feed_forward.{name}") for one, name in _LFM.items()]
    others += [named.replace(f".mlp.{one}", f".shared_mlp.{of}") for one, of in _GRANITE.items()]
    others += [parts.replace(f"_attn.{one}_proj", f"_attn.in_proj_{one}") for one in _LINEAR]
    others += ["lm_head"] * (named == "embed_out") + ["embed_out"] * (named == "lm_head")
    return next((name for name in (parts, named, *others) if name in captured.names), None)


def parts_of(linear: Named, captured: Captured) -> list[tuple[str, slice]]:
    """The sources of a MatMul's Hessians, and the outputs that each is of: of merged linears the
    value projection, which comes last, has its own."""
    name = captured_name(linear, captured)
    assert name is not None
    values = name.replace("q_proj", "v_proj") if "qkv_proj" in linear.name else ""
    rows = captured.mixed_rows(values)
    if not rows:
        return [(captured.source_of(name), slice(None))]
    return [
        (captured.source_of(name), slice(-rows)),
        (captured.source_of(values), slice(-rows, None)),
    ]


def hessian_of(linear: Named, captured: Captured) -> torch.Tensor:
    """XᵀX / n of a MatMul's inputs, float32 [K, K]."""
    name = captured_name(linear, captured)
    assert name is not None
    return torch.from_numpy(captured.hessian(name))
