"""The environment of a stage's process: what it may inherit, and what fixes its arithmetic.

Nothing else of the caller's environment gets in: a variable of MKL, ATen, OpenMP, numba or the
dynamic linker changes the bytes of a result under one key.
"""

import os
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path

IN_NO_KEY = "what it fixes is in the key itself, as `arithmetic_key` says it"

_INHERITED = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "COLUMNS", "TMPDIR", "TMP", "TEMP"),
        *("PYTHONPATH", "VIRTUAL_ENV", "CC", "CXX", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSH_AUTH_SOCK"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
        # Whether threads that wait for work spin or sleep: their speed, and no result.
        "OMP_WAIT_POLICY",
    }
)
_KEPT_BACK = frozenset({"QUANTMAKE_SIGNING_KEY"})
"""What the engine alone may know: stages run the code of models that a recipe trusts."""
_INHERITED_PREFIXES = (
    *("QUANTMAKE_", "HF_", "HUGGING_FACE_", "HUGGINGFACE_", "PIP_", "XDG_", "FSSPEC_"),
    *("AWS_", "AZURE_", "GOOGLE_", "GCS_", "OBJECT_STORE_"),
)
_FIXED = {
    "LC_ALL": "C.UTF-8",
    "PYTHONUTF8": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONUNBUFFERED": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_X86_64 = {
    # Without these, MKL takes other kernels for AMD than for Intel, and each library the widest
    # vectors that the processor has: sums come out in another order, exp by another polynomial.
    "MKL_CBWR": "COMPATIBLE",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}
_AARCH64 = {"ATEN_CPU_CAPABILITY": "default", "OPENBLAS_CORETYPE": "ARMV8"}
_NEEDED = {"x86_64": {"avx2", "fma", "f16c"}, "aarch64": {"asimd"}}


def arithmetic() -> dict[str, str]:
    """The variables that fix how a process computes with floats on this kind of machine."""
    by_machine = {"x86_64": _X86_64, "aarch64": _AARCH64}
    return {**_ONE_THREAD, **by_machine.get(platform.machine(), {})}


def stage_environment(caller: Mapping[str, str], *, canonical: bool) -> dict[str, str]:
    """What a stage's process gets: of `caller`, what may be inherited, and fixed variables.

    With `canonical` its floats are the same on every processor of this kind that has AVX2 and FMA;
    without, each library is as fast as it can be.
    """
    inherited = {
        name: value
        for name, value in caller.items()
        if (name.upper() in _INHERITED or name.startswith(_INHERITED_PREFIXES))
        and name not in _KEPT_BACK
    }
    return {**inherited, **_FIXED, **(arithmetic() if canonical else {})}


@cache
def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def is_canonical() -> bool:
    """Whether this processor can compute as `arithmetic` says."""
    needed = _NEEDED.get(platform.machine())
    return needed is not None and needed <= set(_cpuinfo().split())


def arithmetic_key(*, canonical: bool) -> dict[str, str]:
    """What an action key holds of how floats are computed: the fixed variables, or, where the
    results depend on it, which processor it is and how many of its cores may be used."""
    if canonical and is_canonical():
        return {"machine": platform.machine(), **arithmetic()}
    first = _cpuinfo().partition("\n\n")[0].splitlines()
    entries = dict(line.replace("\t", "").split(":", 1) for line in first if ":" in line)
    names = ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part")
    model = ", ".join(f"{name} {entries[name].strip()}" for name in names if name in entries)
    cores = str(len(os.sched_getaffinity(0)))
    return {"machine": platform.machine(), "processor": model, "cores": cores}
