"""Threads that compute with one core each, so that no result depends on how many there are."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def single_core_workers(threads: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of `threads`, in each of which torch uses one core; so it does in this thread."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)
