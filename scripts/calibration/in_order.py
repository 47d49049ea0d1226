"""Pieces of work on threads, made as late as possible, with their results in order."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def in_order(
    pool: ThreadPoolExecutor, work: Iterator[Callable[[], Result]], ahead: int
) -> Iterator[Result]:
    """What each piece returns. Of those whose result is not taken yet there are at most `ahead`,
    and one more while this thread makes it: what a piece holds, such as random numbers, takes
    memory, and making it takes time."""
    waiting = deque[Future[Result]]()
    for one in work:
        if len(waiting) == ahead:
            yield waiting.popleft().result()
        waiting.append(pool.submit(one))
    while waiting:
        yield waiting.popleft().result()
