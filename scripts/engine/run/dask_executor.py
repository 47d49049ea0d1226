"""Stages on a Dask cluster: actions travel as data, files through the shared store.

Only this process owns doit's state. A worker needs a checkout of the same sources, the same
packages and the store; it says so where it has others. Dask gives the work of a worker that
dies to another one.
"""

import json
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scripts.engine import console
from scripts.engine.build.action import Action
from scripts.engine.build.kept import shared_store
from scripts.engine.build.perform import Failure
from scripts.engine.build.record import Cost
from scripts.engine.run.cluster_worker import build_action
from scripts.engine.run.local import LocalExecutor
from scripts.engine.session import READ_ONLY_VARIABLE, STORE_VARIABLE, only_fetches, remote_place
from scripts.engine.store.local import StoreError, checkout_manifest
from scripts.engine.store.manifest import Manifest, read_manifest
from scripts.errors import MachineError, QuantmakeError, RecipeError

_TIMEOUT_S = 10


class DaskExecutor:
    """Runs stages on the workers of a scheduler.

    Stages whose timings count run on this machine, so that their rows compare, and so do those
    whose results may not be taken from others.
    """

    width = 16  # threads that wait for the cluster, where -n does not say

    def __init__(self, scheduler: str) -> None:
        """Connects to nothing yet. Raises RecipeError or MachineError where it never could."""
        if find_spec("distributed") is None:
            raise MachineError(
                "--engine dask needs the package distributed; install it with "
                "python3.11 -m scripts.setup --extra dask"
            )
        place = remote_place()
        if not scheduler or place is None:
            missing = "--scheduler tcp://HOST:PORT" if not scheduler else f"{STORE_VARIABLE}=…"
            raise RecipeError(
                f"--engine dask needs {missing}: workers are found through the scheduler, and "
                "share nothing but the store (`store` in [tool.quantmake], or the variable)"
            )
        if only_fetches():
            raise RecipeError(
                "--engine dask writes to the shared store, and this machine may only fetch from it "
                f"({READ_ONLY_VARIABLE}, or `store_read_only` in [tool.quantmake])"
            )
        self._local = LocalExecutor(at_once=1)
        self._scheduler, self._place, self._store = scheduler, place, shared_store(place)
        self._connecting = threading.Lock()
        self._asked = False
        self._client: Any = None

    def close(self) -> None:
        """Leave the cluster."""
        if self._client is not None:
            self._client.close()

    def _connect(self) -> Any:
        """The connection, made when the first stage is to run; None where nobody answers."""
        from distributed import Client

        with self._connecting:
            if not self._asked:
                self._asked = True
                connect: Any = Client
                try:
                    self._client = connect(
                        self._scheduler, timeout=_TIMEOUT_S, set_as_default=False
                    )
                except Exception as error:  # of sockets, of TLS, of distributed's own kinds
                    console.current().say(
                        f"warning: the Dask scheduler {self._scheduler} can't be reached "
                        f"({error}). Building on this machine instead."
                    )
            return self._client

    def build(self, task: str, action: Action, key: str, out: Path) -> Cost:
        """As `Executor.build`."""
        may_travel = action.stage.reproducible and action.stage.shared
        client = self._connect() if may_travel else None
        if client is None:
            return self._local.build(task, action, key, out)
        try:
            order = self._order(task, action, key)
            future = client.submit(build_action, order, pure=False, retries=0)
            answer: dict[str, Any] = future.result()
            if "error" in answer:
                raise Failure(answer["error"], answer["exit_code"])
            checkout_manifest(self._store, Manifest.from_json(answer["manifest"]), out)
        except StoreError as error:
            raise MachineError(f"{task}: {self._store.name}: {error}; run doit again") from None
        except (Failure, QuantmakeError):
            raise
        except Exception as error:  # distributed has exceptions of its own
            raise MachineError(
                f"{task}: the cluster failed ({type(error).__name__}: {error}); run doit again, "
                "or without --engine dask"
            ) from None
        return Cost(answer["seconds"], answer["memory"])

    def _order(self, task: str, action: Action, key: str) -> str:
        """The action as data; its inputs' files are in the store by then."""
        inputs = {}
        for name, path in action.inputs.items():
            manifest = read_manifest(path)
            if manifest is None:
                raise QuantmakeError(f"{path} has no manifest that can be read; run doit again")
            self._store.put_blobs(manifest, path)
            inputs[name] = {"name": path.name, "manifest": json.loads(manifest.to_json())}
        return json.dumps(
            {
                "task": task,
                "stage": action.stage_name,
                "options": action.stage.model_dump(mode="json"),
                "inputs": inputs,
                "target": action.target.name,
                "parts": action.parts(),
                "key": key,
                "store": self._place,
            }
        )
