"""How artefacts are run: as the artefact itself says, and in float32 where it says nothing."""

import os

import openvino as ov

_OPTIONS = "runtime_options"
"""Where the CPU plugin looks for settings of a model that its file brings."""
_CACHE, _ACTIVATIONS = "KV_CACHE_PRECISION", "DYNAMIC_QUANTIZATION_GROUP_SIZE"
_OLDER = "ONEDNN_MAX_CPU_ISA"
_GROUP = 32  # the plugin's own; a wider one than a block of weights is not used


def settings(threads: int) -> dict[str, object]:
    """Of the process that runs a model. Without the first, products are in bfloat16 where the
    processor has it, and the figures are those of one kind of processor; without the second, the
    float graph, which says nothing of it, would have a cache in 8 bits.

    Where oneDNN is held to older instructions, as in stages that write bytes, the plugin still
    takes the processor's for the rounding of activations, and its results are empty (2026.4):
    there, where artefacts are only looked at, activations are not rounded.
    """
    held_back = {_ACTIVATIONS: 0} if _OLDER in os.environ else {}
    return {
        "INFERENCE_PRECISION_HINT": "f32",
        _CACHE: "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        **held_back,
    }


def keep_settings(model: ov.Model, *, rounds_activations: bool) -> None:
    """Write into the model how it is run: whether activations are rounded to 8 bits in groups, and
    that the cache is in float32. The plugin's own default is a cache in 8 bits, whose price a
    score of whole windows does not show: within one prefill nothing is read from it."""
    model.set_rt_info("f32", [_OPTIONS, _CACHE])
    model.set_rt_info(str(_GROUP if rounds_activations else 0), [_OPTIONS, _ACTIVATIONS])
