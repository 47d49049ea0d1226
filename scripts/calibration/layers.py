"""The capture: a pass over the calibration, layer by layer, that watches every linear."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import nn

from scripts.calibration.decoder import Decoder, LayerCall
from scripts.calibration.part import Part
from scripts.calibration.stored import HESSIAN, MIXED, STATISTICS
from scripts.calibration.sums import Sums, Watch
from scripts.checkpoint import Checkpoints
from scripts.devices import Device
from scripts.progress import Progress
from scripts.tensors.appended import Appended
from scripts.token_windows import read_windows
from scripts.workers import single_core_workers

_HEADER_BYTES_PER_LINEAR = 400
_STATES, _LAYERS = "states", "layers"
Result = TypeVar("Result")


def _advance(
    calls: Sequence[LayerCall], index: int, states: Sequence[torch.Tensor], at: int
) -> torch.Tensor:
    return calls[at](index, states[at])


def capture(
    base: Path,
    calibration: Path,
    out: Path,
    checkpoints: Checkpoints,
    *,
    threads: int,
    device: Device = "cpu",
) -> None:
    """Write the two files of `Capture` for windows [n, context] of the calibration.

    Layers that an interrupted run had finished are taken from its checkpoints.
    """
    decoder = Decoder(base, device)
    decoder.refuse_broken()
    linears = decoder.linears()
    tokens = [torch.from_numpy(window)[None] for window in read_windows(calibration)]
    statistics: dict[str, NDArray[np.float32]] = {}
    shared: dict[str, str] = {}
    unsaved: dict[str, Part] = {}
    bar = Progress("capturing", len(decoder.layers) + 1)
    watch = Watch()
    header_bytes = 200 + _HEADER_BYTES_PER_LINEAR * len(linears)
    with (
        torch.inference_mode(),
        single_core_workers(threads) as pool,
        Appended(out / HESSIAN, header_bytes) as writer,
        watch.on(linears),
    ):

        def over_windows(step: Callable[[int], Result], run: Any = pool.map) -> list[Result]:
            sums, results = Sums(), []
            work = [partial(watch.during, partial(step, at)) for at in range(len(tokens))]
            for result, window in run(lambda one: one(), work):
                sums.add(window)
                results.append(result)
            part = sums.finish()
            part.add_to(writer, statistics, shared)
            if checkpoints.are_kept:
                unsaved[f"layer{int(bar.done)}"] = part
            bar.advance()
            return results

        begun = [decoder.begin(ids) for ids in tokens]
        states = [hidden for hidden, _ in begun]
        calls = [call for _, call in begun]
        kept = checkpoints.load(_STATES)
        if kept is not None:
            states = [kept[str(at)] for at in range(len(states))]
            for index in range(int(kept[_LAYERS])):
                # It was saved before the states that follow from it.
                finished = checkpoints.load_finished(f"layer{index}")
                Part.of(finished).add_to(writer, statistics, shared)
                bar.advance()
        for index in range(int(bar.done), len(decoder.layers)):
            decoder.load(index)
            states = over_windows(partial(_advance, calls, index, states))
            decoder.unload(index)
            if checkpoints.is_due():
                for name, part in unsaved.items():
                    checkpoints.save(name, part.to_tensors())
                numbered = {str(at): state.cpu() for at, state in enumerate(states)}
                checkpoints.save(_STATES, {**numbered, _LAYERS: torch.tensor(index + 1)})
                unsaved.clear()
        # In this thread alone: it takes the layers out of the model.
        over_windows(lambda at: decoder.end(tokens[at], states[at]), run=map)
        rows = {
            name: linear.out_features
            for name, linear in linears.items()
            if name + MIXED in writer.names and isinstance(linear, nn.Linear)
        }
        writer.finish({"shared": json.dumps(shared), "mixed": json.dumps(rows)})
    if silent := [name for name in linears if name not in shared]:
        print(
            f"no token of the calibration reached {', '.join(silent)}. GGUF files have them by "
            "llama.cpp's own rounding, ONNX and bitsandbytes rounded to nearest where "
            "`on_unsupported: rtn` says so. A longer calibration may reach them."
        )
    save_file(statistics, out / STATISTICS)
    (out / STATISTICS).chmod(0o644)  # save_file leaves the file to its owner alone
