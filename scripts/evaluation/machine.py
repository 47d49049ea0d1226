"""The machine that timings were taken on."""

import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from scripts.evaluation.result import Machine

_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "asimddp")


def _cpu_info() -> tuple[str, set[str]]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine(), set()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return (names[0] if names else platform.machine()), set(text.split())


def describe(cores: int, packages: Iterable[str]) -> Machine:
    """The processor, those of its features that integer kernels use, cores, versions."""
    name, words = _cpu_info()
    return Machine(
        cpu=name,
        features=[feature for feature in _FEATURES if feature in words],
        cores=cores,
        packages={package: metadata.version(package) for package in packages},
    )
