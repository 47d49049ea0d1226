"""A decoder run layer by layer: weights come from disk when their layer is reached."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate import init_empty_weights
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from scripts.calibration.part import Part
from scripts.calibration.stored import HESSIAN, STATISTICS
from scripts.calibration.sums import Sums, Watch
from scripts.checkpoint import Checkpoints
from scripts.errors import QuantmakeError
from scripts.progress import Progress
from scripts.tensors.appended import Appended
from scripts.tensors.finite import is_finite
from scripts.tensors.header import tensors_in
from scripts.token_windows import read_windows
from scripts.workers import single_core_workers

_HEADER_BYTES_PER_LINEAR = 400
_STATES, _LAYERS = "states", "layers"
Result = TypeVar("Result")
LayerCall = Callable[[nn.Module, torch.Tensor], torch.Tensor]


class _Seen(Exception):
    """Ends a forward pass once what was looked for has been seen."""


def _stop(*_: object) -> None:
    raise _Seen


class _First(nn.Module):
    """Stands where the layers are; keeps what the first of them is called with."""

    def forward(self, hidden: torch.Tensor, *args: object, **kwargs: object) -> None:
        self.hidden, self.args, self.kwargs = hidden, args, kwargs
        raise _Seen


class UnknownLayers(QuantmakeError):
    """A model in which it is not clear which modules are its decoder layers."""


class Last(nn.Module):
    """Stands where the layers are; gives what the last of them gave."""

    def __init__(self, given: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
        super().__init__()
        self._given = given

    def forward(self, *_: object, **__: object) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Takes what a layer takes."""
        return self._given


def stack_of(model: Any) -> tuple[str, nn.ModuleList]:
    """The name of the list of decoder layers, and the list.

    Raises UnknownLayers where the model has not exactly one.
    """
    count = model.config.get_text_config().num_hidden_layers
    stacks = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    }
    if len(stacks) != 1:
        raise UnknownLayers(
            f"{type(model).__name__} has {len(stacks)} stacks of {count} decoder layers where "
            "one was expected; methods that look at single layers do not know this architecture"
        )
    return next(iter(stacks.items()))


class Decoder:
    """A causal language model of a folder in float32, whose weights are loaded by part."""

    def __init__(self, base: Path) -> None:
        self._weights = tensors_in(base)
        trust = any(base.glob("*.py"))  # the base holds code only where the recipe trusts it
        config = AutoConfig.from_pretrained(base, trust_remote_code=trust, local_files_only=True)
        config.use_cache = False
        # Buffers are real: rotary frequencies are in no file.
        with init_empty_weights(include_buffers=False):
            model = AutoModelForCausalLM.from_config(
                config, trust_remote_code=trust, dtype=torch.float32
            )
        self._model: Any = model.eval()
        self._stack, self.layers = stack_of(model)
        head = model.get_output_embeddings()
        if head is not None:
            head.forward = _stop  # logits of every token are large, and nobody reads them

    def linears(self) -> dict[str, nn.Module]:
        """Every linear layer by its name; those outside of the decoder layers come last."""
        linears = {
            name: module
            for name, module in self._model.named_modules()
            if isinstance(module, nn.Linear | Conv1D)
        }
        within = {name: one for name, one in linears.items() if self._is_within(name)}
        return {**within, **linears}

    def refuse_broken(self) -> None:
        """Raise QuantmakeError that names every weight with NaN or infinity."""
        bad = [name for name in sorted(self._weights) if not is_finite(self._stored(name))]
        if bad:
            raise QuantmakeError(
                f"the base has NaN or infinity in {', '.join(bad)}; a quantised model of it would "
                "answer nonsense. Mend the source model."
            )

    def load(self, index: int) -> None:
        """Read one layer's weights."""
        self._fill(self.layers[index], f"{self._stack}.{index}.")

    def unload(self, index: int) -> None:
        """Forget them."""
        self.layers[index].to("meta")

    def begin(self, tokens: torch.Tensor) -> tuple[torch.Tensor, LayerCall]:
        """Hidden states [1, n, width] before the first layer, for tokens [1, n]; and a function
        that calls a layer with such states as the model would."""
        first = _First()
        self._run(first, tokens)

        def call(layer: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
            given = layer(hidden, *first.args, **first.kwargs)
            after: torch.Tensor = given[0] if isinstance(given, tuple) else given
            return after

        return first.hidden, call

    def end(self, tokens: torch.Tensor, hidden: torch.Tensor) -> None:
        """What comes after the last layer, for the hidden states that it gave."""
        self._run(Last(hidden), tokens)

    def logits(self, tokens: torch.Tensor, positions: Sequence[int]) -> torch.Tensor:
        """Logits [positions, vocabulary] of what comes after some of the tokens [1, n]."""
        hidden, call = self.begin(tokens)
        for index, layer in enumerate(self.layers):
            self.load(index)
            hidden = call(layer, hidden)
            self.unload(index)
        head = self._model.get_output_embeddings()
        stop = head.__dict__.pop("forward")
        try:
            output = self._run(Last(hidden), tokens, logits_to_keep=torch.tensor(positions))
        finally:
            head.forward = stop
        logits: torch.Tensor = output.logits[0]
        return logits

    def _run(self, stand_in: nn.Module, tokens: torch.Tensor, **named: object) -> Any:
        """A forward pass with `stand_in` for the layers, up to the logits."""
        owner, _, attribute = self._stack.rpartition(".")
        parent = self._model.get_submodule(owner)
        setattr(parent, attribute, nn.ModuleList([stand_in]))
        try:
            self._fill(self._model, "")
            return self._model(tokens, use_cache=False, **named)
        except _Seen:
            return None
        finally:
            setattr(parent, attribute, self.layers)

    def _is_within(self, name: str) -> bool:
        return name.startswith(f"{self._stack}.")

    def _stored(self, name: str) -> torch.Tensor:
        with safe_open(self._weights[name].file, "pt") as shard:
            tensor: torch.Tensor = shard.get_tensor(name)
        return tensor

    def _read(self, name: str) -> torch.Tensor:
        return self._stored(name).float()

    def _fill(self, module: nn.Module, prefix: str) -> None:
        """Load what is still empty of the parameters and buffers below a module."""
        empty = {n for n, p in module.named_parameters(remove_duplicate=False) if p.is_meta}
        short = len(f"{self._model.base_model_prefix}.")
        state = {}
        for name in sorted(empty):
            whole = prefix + name
            stored = next((one for one in (whole, whole[short:]) if one in self._weights), None)
            if stored is not None:
                state[name] = self._read(stored)
        module.load_state_dict(state, strict=False, assign=True)
        if prefix == "":
            self._model.tie_weights()
        left = [prefix + n for n, p in module.named_parameters() if p.is_meta]
        if left:
            raise QuantmakeError(f"the base has no tensors {', '.join(left)}; build it again")


def _advance(
    calls: Sequence[LayerCall], layer: nn.Module, states: Sequence[torch.Tensor], at: int
) -> torch.Tensor:
    return calls[at](layer, states[at])


def capture(
    base: Path, calibration: Path, out: Path, checkpoints: Checkpoints, *, threads: int
) -> None:
    """Write the two files of `Capture` for windows [n, context] of the calibration.

    Layers that an interrupted run had finished are taken from its checkpoints.
    """
    decoder = Decoder(base)
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
            states = over_windows(partial(_advance, calls, decoder.layers[index], states))
            decoder.unload(index)
            if checkpoints.is_due():
                for name, part in unsaved.items():
                    checkpoints.save(name, part.to_tensors())
                numbered = {str(at): state for at, state in enumerate(states)}
                checkpoints.save(_STATES, {**numbered, _LAYERS: torch.tensor(index + 1)})
                unsaved.clear()
        # In this thread alone: it takes the layers out of the model.
        over_windows(lambda at: decoder.end(tokens[at], states[at]), run=map)
        writer.finish({"shared": json.dumps(shared)})
    save_file(statistics, out / STATISTICS)
    (out / STATISTICS).chmod(0o644)  # save_file leaves the file to its owner alone
