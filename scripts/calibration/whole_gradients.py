"""Squared gradients with the whole model in memory: of small models, and of those whose layers are
not known."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from scripts.base.published import Converted, published_modules
from scripts.calibration.fused_experts import is_linear, open_experts
from scripts.calibration.in_order import in_order
from scripts.calibration.noted import Noted, Terms, add, likelihood, noise
from scripts.checkpoint import Checkpoints
from scripts.devices import Device, torch_device
from scripts.progress import Progress
from scripts.tensors.header import tensors_in
from scripts.tensors.mapped import mapped

_SUMS, _WINDOWS, _RANDOM = "sums", "windows done", "random numbers"


def whole_gradients(
    base: Path,
    tokens: torch.Tensor,
    checkpoints: Checkpoints,
    pool: ThreadPoolExecutor,
    ahead: int,
    device: Device = "cpu",
) -> Terms:
    """Sums over all windows [windows, context], each computed on one thread of the pool, `ahead`
    at a time; an interrupted run goes on after the last window whose sums were kept.

    Raises NotFinite where the model gives no probabilities.
    """
    # Experts by products that are the same on every processor.
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, experts_implementation="eager"
    )
    model.eval().requires_grad_(False).to(torch_device(device))
    open_experts(model)
    measured = _Measured(model, base)
    sums = Terms()
    generator = torch.Generator().manual_seed(0)
    progress = Progress("gradients", len(tokens), "windows")
    kept = checkpoints.load(_SUMS)
    if kept is not None:
        generator.set_state(kept.pop(_RANDOM))
        progress.advance(int(kept.pop(_WINDOWS)))
        sums.update(kept)
    states: list[torch.Tensor] = []

    def work() -> Iterator[Callable[[], Terms]]:
        for window in tokens[int(progress.done) :]:
            states.append(generator.get_state())
            drawn = noise((len(window), measured.vocabulary), generator)
            yield partial(measured.window, window, drawn)

    for terms in in_order(pool, work(), ahead):
        add(sums, terms)
        progress.advance()
        del states[0]
        if checkpoints.is_due() and progress.done < len(tokens):
            # The random numbers of the next window may have been drawn already.
            state = states[0] if states else generator.get_state()
            done = {_WINDOWS: torch.tensor(progress.done), _RANDOM: state}
            checkpoints.save(_SUMS, {**sums, **done})
    return sums


class _Measured:
    """A model whose linears note the gradients at their outputs."""

    def __init__(self, model: Any, base: Path) -> None:
        self._model = model
        known = published_modules(Converted(model, mapped(tensors_in(base))))
        own = {module: name for name, module in model.named_modules()}
        names = {module: known.get(name, name) for module, name in own.items()}
        head, self._embedding = model.get_output_embeddings(), model.get_input_embeddings()
        self._names = names[head], names[self._embedding]
        self.vocabulary: int = head.weight.shape[0]
        self._noted = Noted(
            {
                name: module
                for module, name in names.items()
                if is_linear(module) and module is not head
            }
        )

    def window(self, tokens: torch.Tensor, noise: torch.Tensor) -> Terms:
        """Of a window [context]."""
        (head, embedding), terms = self._noted.during(partial(self._pass, tokens, noise))
        named = {**terms, self._names[0]: head, self._names[1]: embedding}
        return {name: one.cpu() for name, one in named.items()}

    def _pass(self, tokens: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The squared gradients at the head and at the embedding."""
        place = self._embedding.weight.device
        embedded = self._embedding(tokens[None].to(place)).requires_grad_(True)
        logits = self._model(inputs_embeds=embedded, use_cache=False).logits[0]
        total, at_head = likelihood(logits, noise.to(place))
        total.backward()  # type: ignore[no-untyped-call]
        return at_head.sum(0), embedded.grad[0].square().sum(0)
