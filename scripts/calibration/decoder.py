"""A decoder run layer by layer: weights come from disk when their layer is reached."""

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from scripts.base.published import Converted, published_modules
from scripts.calibration.fused_experts import is_linear, open_experts
from scripts.calibration.stand_ins import (
    Call,
    Output,
    UnknownLayers,
    answering,
    in_place_of,
    stack_of,
    states_of,
)
from scripts.calibration.weights_by_part import WeightsByPart, empty
from scripts.devices import Device, torch_device
from scripts.errors import QuantmakeError
from scripts.freed_memory import give_back
from scripts.tensors.finite import is_finite
from scripts.tensors.header import tensors_in
from scripts.tensors.mapped import mapped

LayerCall = Callable[[int, torch.Tensor], torch.Tensor]
Predict = Callable[[torch.Tensor, torch.Tensor, "int | torch.Tensor"], torch.Tensor]


class _Seen(Exception):
    """Ends a forward pass once what was looked for has been seen."""


def _stop(*_: object) -> None:
    raise _Seen


class Decoder:
    """A causal language model of a folder in float32, whose weights are loaded by part: the
    embedding, each layer, the head. What else lies outside of the layers, such as norms, stays."""

    def __init__(self, base: Path, device: Device = "cpu") -> None:
        self.device = torch_device(device)
        self._weights = mapped(tensors_in(base))
        trust = any(base.glob("*.py"))  # the base holds code only where the recipe trusts it
        config = AutoConfig.from_pretrained(base, trust_remote_code=trust, local_files_only=True)
        config.use_cache = False
        # Buffers are real: rotary frequencies are in no file.
        with init_empty_weights(include_buffers=False):
            model = AutoModelForCausalLM.from_config(
                config, trust_remote_code=trust, dtype=torch.float32
            )
        open_experts(model)
        for module in model.modules():
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, buffer.to(self.device))
        self._model: Any = model.eval().requires_grad_(False)
        converted = Converted(model, self._weights)
        self._parts = WeightsByPart(model, converted, self.device)
        self._published = published_modules(converted)
        self._stack, self.layers = stack_of(model)
        self._gives_tuples: bool | None = None
        self.embedding: Any = model.get_input_embeddings()
        self.head: Any = model.get_output_embeddings()
        model.tie_weights()
        weight = getattr(self.head, "weight", None)
        self._is_tied = weight is not None and weight is self.embedding.weight

    def linears(self) -> dict[str, nn.Module]:
        """Every linear layer by its name in files, those outside of the decoder layers last."""
        named = self._model.named_modules()
        linears = {name: module for name, module in named if is_linear(module)}
        within = {name: one for name, one in linears.items() if self._is_within(name)}
        ordered = {**within, **linears}
        return {self._published.get(name, name): one for name, one in ordered.items()}

    def name_of(self, module: nn.Module) -> str:
        """Of a part of the model, in files."""
        names: dict[nn.Module, str] = {one: name for name, one in self._model.named_modules()}
        return self._published.get(names[module], names[module])

    def refuse_broken(self) -> None:
        """Raise QuantmakeError that names every weight with NaN or infinity."""
        bad = [name for name, weight in sorted(self._weights.items()) if not is_finite(weight)]
        if bad:
            raise QuantmakeError(
                f"the base has NaN or infinity in {', '.join(bad)}; a quantised model of it would "
                "answer nonsense. Mend the source model."
            )

    def load(self, index: int) -> None:
        """Read one layer's weights."""
        self._parts.fill(self.layers[index], f"{self._stack}.{index}.")

    def unload(self, index: int) -> None:
        """Forget them."""
        empty(self.layers[index])
        give_back()

    def unload_ends(self) -> None:
        """Forget the weights of the embedding and of the head, until they are needed again."""
        for part in self._ends():
            empty(part)
        give_back()

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """What the embedding gives for tokens [b, n]."""
        self._fill_outside(self.embedding)
        embedded: torch.Tensor = self.embedding(tokens.to(self.device))
        return embedded

    def begin(
        self, tokens: torch.Tensor, embedded: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, LayerCall]:
        """Hidden states [b, n, width] before the first layer, for tokens [b, n]; and a function
        that calls a layer, by its index, with such states as the model would. With `embedded`, it
        stands in the place of what the embedding gives.

        Raises UnknownLayers where the model does not go through all of its layers in turn, or
        where gradients at `embedded` are wanted and reach the layers by other ways too.
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
            self._run(note, tokens, embedded)
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
                return self.begin(tokens, embedded)
        if failure is not None:
            raise self._unknown(f"ends with {type(failure).__name__}: {failure}") from failure
        if [*calls] != [*range(len(self.layers))]:
            raise self._unknown(f"goes through layers {[*calls]} of {len(self.layers)}")
        if any(_want_gradients(call.rest()) for call in calls.values()):
            raise self._unknown("gives the layers more of the embedding than their hidden states")

        def call(index: int, hidden: torch.Tensor) -> torch.Tensor:
            output = calls[index].run(self.layers[index], hidden.to(self.device))
            self._gives_tuples = isinstance(output, tuple)
            return states_of(output)

        return calls[0].hidden, call

    def end(self, tokens: torch.Tensor, hidden: torch.Tensor) -> None:
        """What comes after the last layer and before the head, for the hidden states that it gave:
        logits of every token are large, and nobody reads them."""
        with answering(self.head, _stop):
            self._run(lambda *_: self._in_form(hidden), tokens)

    @contextmanager
    def ends(self) -> Iterator[Predict]:
        """A function from tokens [b, n], the hidden states that the last layer gave for them and
        positions (a tensor of them, or how many of the last) to logits [b, positions, vocabulary].
        Threads may call it at one time. While it is open, the layers are out of the model.
        """
        local = threading.local()
        takes = inspect.signature(self._model.forward).parameters

        def predict(
            tokens: torch.Tensor, hidden: torch.Tensor, positions: int | torch.Tensor
        ) -> torch.Tensor:
            local.hidden = hidden.to(self.device)
            if isinstance(positions, torch.Tensor):
                positions = positions.to(self.device)
            keep = {"logits_to_keep": positions} if "logits_to_keep" in takes else {}
            logits: torch.Tensor = self._model(
                tokens.to(self.device), use_cache=False, **keep
            ).logits
            if keep:
                return logits
            return logits[:, -positions:] if isinstance(positions, int) else logits[:, positions]

        with (
            in_place_of(
                *(self._model, self._stack, self.layers),
                lambda *_: self._in_form(local.hidden),
            ),
            answering(self.embedding, self._nothing),
        ):
            self._fill_outside(self.head)
            yield predict

    def logits(self, tokens: torch.Tensor, positions: Sequence[int]) -> torch.Tensor:
        """Logits [positions, vocabulary] of what comes after some of the tokens [1, n]."""
        hidden, call = self.begin(tokens)
        self.unload_ends()
        for index in range(len(self.layers)):
            self.load(index)
            hidden = call(index, hidden)
            self.unload(index)
        with self.ends() as predict:
            return predict(tokens, hidden, torch.tensor(positions))[0]

    def whole(self) -> Any:
        """The model itself, each of whose layers reads its weights when it is reached and forgets
        them afterwards; the embedding and the head stay. Nothing else may be asked from now on."""
        self._fill_outside(*self._ends())
        for index, layer in enumerate(self.layers):
            layer.register_forward_pre_hook(partial(self._reach, self.load, index))
            layer.register_forward_hook(partial(self._reach, self.unload, index))
        return self._model

    @staticmethod
    def _reach(step: Callable[[int], None], index: int, *_: object) -> None:
        step(index)

    def _unknown(self, what: str) -> UnknownLayers:
        return UnknownLayers(
            f"{type(self._model).__name__}, run layer by layer, {what}. Methods that are "
            "calibrated do not know this architecture; rtn, and GGUF's own types, do"
        )

    def _in_form(self, hidden: torch.Tensor) -> Output:
        """As the layers give it."""
        return (hidden,) if self._gives_tuples else hidden

    def _nothing(self, tokens: torch.Tensor) -> torch.Tensor:
        """In the place of what the embedding gives, where only the layers read it. NaN: where
        something else does after all, nothing is right, and it shows."""
        return torch.full((1,), torch.nan, device=tokens.device).expand(
            *tokens.shape, self.embedding.weight.shape[1]
        )

    def _run(
        self,
        answer: Callable[[int, Call], Output],
        tokens: torch.Tensor,
        embedded: torch.Tensor | None = None,
    ) -> None:
        """A forward pass in which `answer` takes the place of the layers, until it has seen enough,
        or up to the head."""
        with in_place_of(self._model, self._stack, self.layers, answer):
            self._fill_outside(*([self.embedding] if embedded is None else []))
            given = (lambda _: embedded) if embedded is not None else None
            try:
                with answering(self.embedding, given):
                    self._model(tokens.to(self.device), use_cache=False)
            except _Seen:
                pass

    def _is_within(self, name: str) -> bool:
        return name.startswith(f"{self._stack}.")

    def _ends(self) -> list[nn.Module]:
        return [part for part in (self.embedding, self.head) if part is not None]

    def _fill_outside(self, *needed: nn.Module) -> None:
        """Load what lies outside of the layers, of the embedding and the head only what is
        needed."""
        is_whole = self._is_tied and bool(needed)
        parts = [part for part in self._ends() if part not in needed and not is_whole]
        parts.append(self.layers)
        left_out = {id(one) for part in parts for one in part.parameters()}
        self._parts.fill(self._model, "", left_out)


def _want_gradients(value: object) -> bool:
    """Whether a tensor in nested tuples, lists and dicts is computed from what gradients are of."""
    if isinstance(value, torch.Tensor):
        return value.requires_grad
    if isinstance(value, Mapping):
        return any(map(_want_gradients, value.values()))
    return isinstance(value, list | tuple) and any(map(_want_gradients, value))
