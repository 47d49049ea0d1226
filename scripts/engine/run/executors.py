"""The places where stages can run, by name."""

from typing import Any

from scripts.engine.run.local import LocalExecutor
from scripts.errors import RecipeError

ENGINES = ("local", "dask")


def executor_of(engine: str, scheduler: str) -> Any:
    """The `Executor` that the command line asks for. Raises RecipeError for an unknown one."""
    if engine == "local":
        return LocalExecutor()
    if engine != "dask":
        raise RecipeError(f"--engine {engine} is unknown; it is one of {', '.join(ENGINES)}")
    from scripts.engine.run.dask_executor import DaskExecutor

    return DaskExecutor(scheduler)
