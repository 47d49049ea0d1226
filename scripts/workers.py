"""Threads that compute with one core each, so that no result depends on how many there are, and
multiply matrices so that it does not depend on the processor."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch's kernels on one thread, with canonical products; the number is put back."""
    import torch

    from scripts.arithmetic.torch_kernels import use_canonical_kernels

    use_canonical_kernels()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def single_core_workers(threads: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of `threads`, in each of which torch uses one core; so it does in this thread."""
    import torch

    with (
        one_thread(),
        ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool,
    ):
        yield pool
