"""What a worker of a cluster does with an action: fetch, build in scratch, upload, record."""

import contextlib
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scripts.engine.build.action import Action
from scripts.engine.build.differences import changes
from scripts.engine.build.kept import shared_store
from scripts.engine.build.perform import Failure
from scripts.engine.build.record import Cost
from scripts.engine.build.sources import forget_sources
from scripts.engine.run.local import run_order
from scripts.engine.store.local import StoreError, checkout_manifest
from scripts.engine.store.manifest import Manifest, make_manifest
from scripts.engine.store.remote import UntrustedRecord
from scripts.errors import QuantmakeError
from scripts.exec import load_stage


def build_action(order: str) -> dict[str, Any]:
    """Do what `order`, JSON, says; answer {"seconds", "memory", "manifest"} or {"error",
    "exit_code"}. The files of the result are in the store then; a record of it is, too, where it
    is settled.
    """
    data = json.loads(order)
    try:
        with tempfile.TemporaryDirectory(prefix="quantmake-") as scratch:
            cost, manifest = _build(data, Path(scratch))
            return {**asdict(cost), "manifest": manifest.to_json()}
    except Failure as failure:
        return {"error": failure.text, "exit_code": failure.exit_code}
    except QuantmakeError as error:
        return {"error": str(error), "exit_code": error.exit_code}
    except (OSError, StoreError) as error:
        return {"error": f"{data['task']}, on a worker: {error}", "exit_code": 3}


def _build(data: dict[str, Any], scratch: Path) -> tuple[Cost, Manifest]:
    store = shared_store(data["store"])
    with contextlib.suppress(UntrustedRecord):
        known = store.manifest(data["key"])
        if known is not None:
            return Cost(), known
    stage = load_stage(data["stage"], data["options"])
    inputs = {}
    for name, given in data["inputs"].items():
        inputs[name] = scratch / "inputs" / name / given["name"]
        inputs[name].parent.mkdir(parents=True)
        manifest = Manifest.from_json(json.dumps(given["manifest"]))
        checkout_manifest(store, manifest, inputs[name])
    out = scratch / "out" / data["target"]
    out.parent.mkdir()
    action = Action(stage, inputs, out)
    _refuse_other_tools(data, action)
    written = scratch / "action.json"
    written.write_text(action.to_json(out))
    cost = run_order(data["task"], stage, written, scratch / "log")
    _refuse_other_tools(data, action)
    manifest = make_manifest(out)
    store.put_blobs(manifest, out)
    if stage.is_settled(out):
        store.put_record(data["key"], manifest)
    return cost, manifest


def _refuse_other_tools(data: dict[str, Any], action: Action) -> None:
    """Raise QuantmakeError where the key would mean other sources, packages or CPU features.

    Sources are read anew: a worker lives long, and its checkout may change.
    """
    forget_sources()
    here = action.tools()
    there = {kind: data["parts"][kind] for kind in here}
    other = [str(change) for change in changes(there, here)]
    if other:
        raise QuantmakeError(
            f"{data['task']}: the worker is not like the controller: {'; '.join(other)}. Bring "
            "its checkout and its packages to the same state."
        )
