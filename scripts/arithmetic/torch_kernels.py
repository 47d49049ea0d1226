"""What torch computes by kernels of ours, so that its floats depend on no processor."""

import warnings
from functools import cache
from typing import Any

import torch

from scripts.arithmetic import torch_functions, torch_products


@cache
def use_canonical_kernels() -> None:
    """From now on, in this process, products of matrices (those of `@`, of linear layers, and of
    the gradients of both) and the functions that torch leaves to MKL are canonical. It can't be
    undone.
    """
    library: Any = torch.library.Library("aten", "IMPL", "CPU")  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Warning only once for all operators")
        for name, kernel in {**torch_products.KERNELS, **torch_functions.KERNELS}.items():
            library.impl(name, kernel)
    _kept.append(library)
    # Attention in one kernel multiplies by MKL's routines; without it, by those above.
    torch.backends.cuda.enable_flash_sdp(False)


_kept: list[Any] = []  # a library that is freed takes its kernels back
