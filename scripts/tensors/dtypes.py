"""The types of tensors by their names in safetensors files."""

import torch

# From the widest to the narrowest, as safetensors orders the data (Dtype in tensor.rs).
TORCH_TYPES = {
    "I64": torch.int64,
    "F64": torch.float64,
    "F32": torch.float32,
    "I32": torch.int32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "I16": torch.int16,
    "F8_E4M3": torch.float8_e4m3fn,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in TORCH_TYPES.items()}
RANKS = {name: rank for rank, name in enumerate(TORCH_TYPES)}
