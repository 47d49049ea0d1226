"""Which tests are fast: those that start no process, open no browser and fetch nothing.

The rule reads what a test, its fixtures and the helpers under `tests/` use, so that no list of
tests has to be kept. What it can't see, as stages that start processes of their own, is marked
`slow` by hand; a fast test that computes for long fails, and says so.
"""

import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

FETCHING = {"llama_cpp_source"}
"""Fixtures that come from the network."""

PROCESSES = {"subprocess", "multiprocessing", "playwright", "playwright.sync_api"}


def _names(code: CodeType) -> Iterator[str]:
    """Everything that a function names, those inside it too."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _functions(thing: object) -> list[FunctionType]:
    """The function that `thing` is, or those of the class that it is."""
    if isinstance(thing, type):
        return [one for one in vars(thing).values() if isinstance(one, FunctionType)]
    thing = inspect.unwrap(thing) if callable(thing) else thing
    return [thing] if isinstance(thing, FunctionType) else []


def starts_processes(things: list[object]) -> bool:
    """Whether one of the functions uses a module of `PROCESSES`, itself or by helpers of tests."""
    waiting, seen = [one for thing in things for one in _functions(thing)], set[Any]()
    while waiting:
        function = waiting.pop()
        if function in seen:
            continue
        seen.add(function)
        for name in _names(function.__code__):
            used = function.__globals__.get(name)
            if name in PROCESSES or (isinstance(used, ModuleType) and used.__name__ in PROCESSES):
                return True
            if str(getattr(used, "__module__", "")).startswith("tests."):
                waiting += _functions(used)
    return False
