"""A decoder run layer by layer: weights come from disk when their layer is reached."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors import safe_open
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from scripts.calibration.fused_experts import ExpertLinear, open_experts
from scripts.calibration.stand_ins import (
    Call,
    Output,
    UnknownLayers,
    in_place_of,
    stack_of,
    states_of,
)
from scripts.errors import QuantmakeError
from scripts.tensors.finite import is_finite
from scripts.tensors.header import tensors_in

LayerCall = Callable[[int, torch.Tensor], torch.Tensor]


class _Seen(Exception):
    """Ends a forward pass once what was looked for has been seen."""


def _stop(*_: object) -> None:
    raise _Seen


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
        open_experts(model)
        self._model: Any = model.eval()
        self._stack, self.layers = stack_of(model)
        self._gives_tuples: bool | None = None
        head = model.get_output_embeddings()
        if head is not None:
            head.forward = _stop  # logits of every token are large, and nobody reads them

    def linears(self) -> dict[str, nn.Module]:
        """Every linear layer by its name; those outside of the decoder layers come last."""
        linears = {
            name: module
            for name, module in self._model.named_modules()
            if isinstance(module, nn.Linear | Conv1D | ExpertLinear)
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
        that calls a layer, by its index, with such states as the model would.

        Raises UnknownLayers where the model does not go through all of its layers in turn.
        """
        calls: dict[int, Call] = {}
        last = len(self.layers) - 1

        def note(index: int, call: Call) -> Output:
            calls[index] = call
            if index == last:
                raise _Seen
            return self._in_form(call.hidden)

        failure: Exception | None = None
        try:
            self._run(note, tokens)
        except QuantmakeError:
            raise
        except Exception as error:  # of the model's own code
            failure = error
        if self._gives_tuples is None and 0 in calls:
            # A model whose layers give tuples took the first row of a tensor.
            first = calls[0].hidden.dim()
            self._gives_tuples = any(call.hidden.dim() != first for call in calls.values())
            self._gives_tuples |= len(calls) < len(self.layers)
            if self._gives_tuples:
                return self.begin(tokens)
        if failure is not None:
            raise self._unknown(f"ends with {type(failure).__name__}: {failure}") from failure
        if [*calls] != [*range(len(self.layers))]:
            raise self._unknown(f"goes through layers {[*calls]} of {len(self.layers)}")

        def call(index: int, hidden: torch.Tensor) -> torch.Tensor:
            output = calls[index].run(self.layers[index], hidden)
            self._gives_tuples = isinstance(output, tuple)
            return states_of(output)

        return calls[0].hidden, call

    def end(self, tokens: torch.Tensor, hidden: torch.Tensor) -> None:
        """What comes after the last layer, for the hidden states that it gave."""
        self._run(lambda *_: self._in_form(hidden), tokens)

    def logits(self, tokens: torch.Tensor, positions: Sequence[int]) -> torch.Tensor:
        """Logits [positions, vocabulary] of what comes after some of the tokens [1, n]."""
        hidden, call = self.begin(tokens)
        for index in range(len(self.layers)):
            self.load(index)
            hidden = call(index, hidden)
            self.unload(index)
        at = torch.tensor(positions)
        takes = inspect.signature(self._model.forward).parameters
        keep = {"logits_to_keep": at} if "logits_to_keep" in takes else {}
        head = self._model.get_output_embeddings()
        stop = head.__dict__.pop("forward")
        try:
            output = self._run(lambda *_: self._in_form(hidden), tokens, **keep)
        finally:
            head.forward = stop
        logits: torch.Tensor = output.logits[0] if keep else output.logits[0, at]
        return logits

    def _unknown(self, what: str) -> UnknownLayers:
        return UnknownLayers(
            f"{type(self._model).__name__}, run layer by layer, {what}. Methods that are "
            "calibrated do not know this architecture; rtn, and GGUF's own types, do"
        )

    def _in_form(self, hidden: torch.Tensor) -> Output:
        """As the layers give it."""
        return (hidden,) if self._gives_tuples else hidden

    def _run(
        self, answer: Callable[[int, Call], Output], tokens: torch.Tensor, **named: object
    ) -> Any:
        """A forward pass in which `answer` takes the place of the layers, up to the logits."""
        with in_place_of(self._model, self._stack, self.layers, answer):
            self._fill(self._model, "")
            try:
                return self._model(tokens, use_cache=False, **named)
            except _Seen:
                return None

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
