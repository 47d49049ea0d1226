"""Which weights to quantise: those that transformers would, found on the meta device."""

from dataclasses import dataclass
from pathlib import Path

import torch
from bitsandbytes.nn.modules import Linear4bit
from transformers import BitsAndBytesConfig
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.auto import AutoHfQuantizer

from scripts.base.skeleton import Skeleton, skeleton
from scripts.errors import QuantmakeError

# bitsandbytes on processors with AVX512-BF16 interleaves this many rows of a weight
# (_convert_weight_packed_for_cpu), and fails on one with another number of rows.
ROWS = 32


@dataclass(frozen=True)
class Plan:
    """The weights to quantise, those of them stored as [in, out] (GPT-2's Conv1D), and the
    modules that loading has to be told to leave alone; none where it does so by itself."""

    weights: frozenset[str]
    transposed: frozenset[str]
    skipped: tuple[str, ...]


def plan(base: Path, block_size: int) -> Plan:
    """Look at the model of `base` without its weights.

    Raises QuantmakeError for experts in stacked tensors, and one that names every weight whose rows
    the block does not divide: bitsandbytes writes such a file, but can't compute with it on every
    processor.
    """
    # The base holds Python code only where the recipe trusts it.
    bare = skeleton(base, trust=any(base.glob("*.py")))
    model = bare.model
    _refuse_stacked(bare)
    kept = AutoHfQuantizer.from_config(BitsAndBytesConfig(load_in_4bit=True), pre_quantized=False)
    with torch.device("meta"):
        kept.preprocess_model(
            model, device_map=None, keep_in_fp32_modules=model._keep_in_fp32_modules
        )
    linears = {n: m for n, m in model.named_modules() if isinstance(m, Linear4bit)}
    narrow = [name for name, linear in linears.items() if linear.out_features % ROWS]
    chosen = {name: linear for name, linear in linears.items() if name not in narrow}
    if not chosen:
        rows = ", ".join(map(str, sorted({linears[name].out_features for name in narrow})))
        why = f" (their rows, {rows}, do not divide by {ROWS})" if narrow else ""
        raise QuantmakeError(
            f"{type(model).__name__} has no linear layer that bitsandbytes can quantise{why}; take "
            "the artefacts with `format: bitsandbytes` out of the recipe"
        )
    offenders = [
        f"{name}.weight ({linear.in_features} wide)"
        for name, linear in chosen.items()
        if linear.in_features % block_size
    ]
    if offenders:
        raise QuantmakeError(
            f"block_size {block_size} does not divide the rows of {len(offenders)} weights: "
            f"{', '.join(offenders)}. Choose a smaller block_size; 64 divides most models."
        )
    return Plan(
        weights=frozenset(f"{bare.published(name)}.weight" for name in chosen),
        transposed=frozenset(
            f"{bare.published(n)}.weight" for n, m in chosen.items() if m.source_cls is Conv1D
        ),
        skipped=(*kept.modules_to_not_convert, *narrow) if narrow else (),
    )


def _refuse_stacked(bare: Skeleton) -> None:
    if stacked := bare.stacked():
        raise QuantmakeError(
            f"transformers holds the experts of {type(bare.model).__name__} in {len(stacked)} "
            f"stacked tensors ({', '.join(stacked)}), for which bitsandbytes has no layer; most of "
            "the model would stay in FP16. GGUF quantises experts: take the artefacts with "
            "`format: bitsandbytes` out of the recipe."
        )
