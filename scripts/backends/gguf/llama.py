"""llama.cpp's own quantiser and loader, through its C interface (include/llama.h)."""

import ctypes
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from gguf import GGMLQuantizationType

from scripts.errors import MachineError, QuantmakeError
from scripts.progress import BYTES, Progress

# What src/llama-quant.cpp prints for each tensor.
_SIZE = re.compile(r"size = +([\d.]+) MiB")
_CONVERTED = re.compile(r"^\[ *\d+/ *\d+\] +(\S+) .*converting to", re.MULTILINE)
_FELL_BACK = re.compile(r"^warning: +(\S+) +- ncols.*-> falling back to +(\S+)", re.MULTILINE)
_ERROR_LEVEL = 4  # GGML_LOG_LEVEL_ERROR of ggml.h


@dataclass(frozen=True)
class Outcome:
    """What the quantiser did: the tensors that it converted, and those that did not get the
    preset's type, with the type that they got, because their width does not divide by its block.
    """

    converted: frozenset[str]
    fallbacks: dict[str, str]


@contextmanager
def _listening(heard: list[tuple[int, str]]) -> Iterator[None]:
    """Collect llama.cpp's log, with its levels; the package's own listener is put back."""

    def listen(level: int, text: bytes, _: Any) -> None:
        heard.append((level, text.decode(errors="replace")))

    callback = llama_cpp.llama_log_callback(listen)
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    try:
        yield
    finally:
        llama_cpp.llama_log_set(llama_cpp._logger.llama_log_callback, ctypes.c_void_p(0))


class _Log(list[tuple[int, str]]):
    """The quantiser's log: printed as it comes, and the bytes of each tensor are progress."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._bar = Progress("quantising", size, BYTES)

    def append(self, line: tuple[int, str]) -> None:
        super().append(line)
        sys.stdout.write(line[1])
        size = _SIZE.search(line[1])
        if size:
            self._bar.advance(float(size[1]) * 2**20)


def quantise(
    f16: Path,
    out: Path,
    file_type: str,
    *,
    threads: int | None = None,
    importance: Mapping[str, np.ndarray[Any, np.dtype[np.float32]]] | None = None,
    types: Mapping[str, str] | None = None,
) -> Outcome:
    """Write `out` in the type LLAMA_FTYPE_`file_type`; the bytes do not depend on `threads`.

    `importance`: llama.cpp's importance matrix, by tensor the mean squared input of each column.
    `types`: by tensor the name of its type, in place of what the file's type would give it.
    Raises QuantmakeError with llama.cpp's reason, MachineError where it could not write.
    """
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.nthread = threads or len(os.sched_getaffinity(0))
    settings.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_{file_type}")
    # ctypes keeps what is assigned alive; both arrays end with an entry of zeros.
    if importance:
        Matrix = llama_cpp.llama_model_imatrix_data
        settings.imatrix = (Matrix * (len(importance) + 1))(
            *(
                Matrix(name.encode(), (ctypes.c_float * len(mean))(*mean), len(mean))
                for name, mean in importance.items()
            )
        )
    if types:
        Override = llama_cpp.llama_model_tensor_override
        settings.tt_overrides = (Override * (len(types) + 1))(
            *(
                Override(f"^{re.escape(name)}$".encode(), GGMLQuantizationType[kind.upper()])
                for name, kind in types.items()
            )
        )
    log = _Log(f16.stat().st_size)
    with _listening(log):
        code = llama_cpp.llama_model_quantize(str(f16).encode(), str(out).encode(), settings)
    text = "".join(text for _, text in log)
    if code != 0:
        out.unlink(missing_ok=True)
        said = re.search(r"failed to quantize: (.*)", text)
        reason = said[1] if said else f"code {code}"
        if "iostream error" in reason:
            raise MachineError(
                f"llama.cpp could not write {out} ({reason}): the disk is full, or the file may "
                "not be written. Free some space (`cache/` may be deleted at any time) and run "
                "doit again."
            )
        raise QuantmakeError(f"llama.cpp could not quantise {f16} to {file_type}: {reason}")
    return Outcome(frozenset(_CONVERTED.findall(text)), dict(_FELL_BACK.findall(text)))


def loading_error(path: Path) -> str | None:
    """Load the file as llama.cpp's users do, every value looked at; None where all is well.

    llama.cpp itself knows best which tensors, shapes and metadata an architecture needs.
    """
    settings = llama_cpp.llama_model_default_params()
    settings.check_tensors = True
    settings.use_extra_bufts = False  # no repacking into memory: the file stays mapped
    settings.n_gpu_layers = 0
    heard: list[tuple[int, str]] = []
    with _listening(heard):
        model = llama_cpp.llama_model_load_from_file(str(path).encode(), settings)
    if model:
        llama_cpp.llama_model_free(model)
        return None
    errors = [text.partition(": ")[2].strip() for level, text in heard if level == _ERROR_LEVEL]
    return "; ".join(errors[:-1] or errors) or "no reason given"
