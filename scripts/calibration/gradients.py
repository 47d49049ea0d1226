"""How the output of the model depends on what each linear gives out."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.checkpoint import Checkpoints
from scripts.errors import QuantmakeError
from scripts.footprints import FOOTPRINTS
from scripts.progress import Progress
from scripts.stage import Stage

if TYPE_CHECKING:
    import torch

_SUMS, _WINDOWS, _RANDOM = "sums", "windows done", "random numbers"


class Gradients(Stage):
    """Measure the squared gradients at every linear's outputs on the calibration's tokens

    For a small change dW of one weight the KLD against the unchanged model is near
    ½ Σ_r g[r] · dW[r] H dW[r]ᵀ nats per token, with H the mean of x xᵀ over the inputs x of the
    linear, which the capture measures, and g the mean squared gradient of the log-likelihood at its
    outputs, of tokens drawn from the model itself: the Fisher information with its Kronecker
    factors, the second one diagonal (Martens and Grosse, 2015, arXiv:1503.05671, section 3). The
    errors at different tokens are taken as independent, so for values and keys, which attention
    adds up, it is low.

    `out` receives gradients.safetensors, float32: `NAME.gradient_square` [outputs] for each linear,
    the head and the embedding, by their Hugging Face names.
    """

    footprint = FOOTPRINTS["gradients"]

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """One forward and one backward pass over the windows, one window on each core at a time.
        An interrupted run goes on after the last window whose sums were kept.

        Raises QuantmakeError that names the linears which no token reached, and the weights that
        are not finite.
        """
        import torch
        from transformers import AutoModelForCausalLM

        from scripts.calibration.fused_experts import open_experts
        from scripts.calibration.stored import write_gradient_squares
        from scripts.token_windows import read_windows
        from scripts.workers import available_cores, single_core_workers

        tokens = torch.from_numpy(read_windows(inputs["calibration"]))
        model = AutoModelForCausalLM.from_pretrained(inputs["base"], dtype=torch.float32)
        model.eval().requires_grad_(False)
        open_experts(model)
        measured = _Measured(model)
        sums: dict[str, torch.Tensor] = {}
        generator = torch.Generator().manual_seed(0)
        progress = Progress("gradients", len(tokens), "windows")
        checkpoints = Checkpoints.of_this_run()
        kept = checkpoints.load(_SUMS)
        if kept is not None:
            generator.set_state(kept.pop(_RANDOM))
            progress.advance(int(kept.pop(_WINDOWS)))
            sums.update(kept)
        cores = available_cores()
        with single_core_workers(cores) as pool:
            while progress.done < len(tokens):
                first = int(progress.done)
                batch = tokens[first : first + cores]
                noise = [measured.noise(window, generator) for window in batch]
                for terms in pool.map(measured.window, batch, noise):
                    for name, term in terms.items():  # not every window reaches every expert
                        sums[name] = sums[name] + term if name in sums else term
                    progress.advance()
                if checkpoints.is_due() and progress.done < len(tokens):
                    done = {_WINDOWS: torch.tensor(progress.done), _RANDOM: generator.get_state()}
                    checkpoints.save(_SUMS, {**sums, **done})
        _refuse_silent(sums)
        means = {name: (total / tokens.numel()).numpy() for name, total in sums.items()}
        write_gradient_squares(out, means)


class _Measured:
    """A model whose linears note the gradients at their outputs, apart for each thread."""

    def __init__(self, model: Any) -> None:
        import torch
        from transformers.pytorch_utils import Conv1D

        from scripts.calibration.fused_experts import ExpertLinear

        self._model, self._local = model, threading.local()
        self._names = {module: name for name, module in model.named_modules()}
        self._head, self._embedding = model.get_output_embeddings(), model.get_input_embeddings()
        for module, name in self._names.items():
            known = isinstance(module, torch.nn.Linear | Conv1D | ExpertLinear)
            if known and module is not self._head:
                module.register_forward_hook(self._note(name))

    def _note(self, name: str) -> Any:
        """A hook that keeps the squared gradients of what a linear gives out: of the tensor, since
        a module's own backward hook forbids what Falcon does, to add to the output in place."""

        def keep(gradient: "torch.Tensor") -> None:
            squares = gradient.flatten(0, -2).square().sum(0)
            terms = self._local.terms
            terms[name] = terms[name] + squares if name in terms else squares

        def hook(_: Any, __: Any, output: Any) -> None:
            if output.requires_grad:
                output.register_hook(keep)

        return hook

    def noise(self, tokens: "torch.Tensor", generator: "torch.Generator") -> "torch.Tensor":
        """What decides the drawn tokens of a window [context]: [context, vocabulary]."""
        import torch

        size = len(tokens), self._head.weight.shape[0]
        return torch.empty(size).exponential_(generator=generator)

    def window(self, tokens: "torch.Tensor", noise: "torch.Tensor") -> "dict[str, torch.Tensor]":
        """Of a window [context] the sums of squared gradients [outputs], by the linears' names."""
        import torch

        self._local.terms = terms = dict[str, torch.Tensor]()
        embedded = self._embedding(tokens[None]).requires_grad_(True)
        logits = self._model(inputs_embeds=embedded).logits[0]
        chances = logits.detach().softmax(-1)
        if not bool(torch.isfinite(chances).all()):
            _refuse_broken(self._model)
        # The first of exponential clocks with these rates is a draw, as torch.multinomial does it.
        drawn = (chances / noise).argmax(-1, keepdim=True)
        logits.log_softmax(-1).gather(1, drawn).sum().backward()
        # At the head the expectation over the drawn token is known: p (1 - p).
        terms[self._names[self._head]] = (chances * (1 - chances)).sum(0)
        terms[self._names[self._embedding]] = embedded.grad[0].square().sum(0)
        return terms


def _refuse_broken(model: "torch.nn.Module") -> None:
    """Raise QuantmakeError that names the weights with NaN or infinity."""
    import torch

    broken = [name for name, one in model.named_parameters() if not torch.isfinite(one).all()]
    reason = f"it has NaN or infinity in {', '.join(broken)}" if broken else "float32 overflows"
    raise QuantmakeError(
        "the base predicts no probabilities on the calibration's text, but values that are not "
        f"finite: {reason}. Mend the source model before anything is quantised."
    )


def _refuse_silent(sums: "dict[str, torch.Tensor]") -> None:
    """Raise QuantmakeError that names the sums which say nothing."""
    import torch

    for bad, kind in (
        ([name for name, one in sums.items() if not torch.isfinite(one).all()], "not finite"),
        ([name for name, one in sums.items() if not one.any()], "all zero"),
    ):
        if bad:
            raise QuantmakeError(
                f"the gradients at {', '.join(bad)} are {kind} over the calibration's text: give "
                "it more tokens (`calibration.tokens` in the recipe) or look at the base"
            )
