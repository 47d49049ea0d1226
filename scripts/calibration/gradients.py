"""How the output of the model depends on each linear: the two factors of its curvature."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.checkpoint import Checkpoints
from scripts.errors import QuantmakeError
from scripts.forecast import Forecast, Inputs
from scripts.progress import Progress
from scripts.stage import Stage
from scripts.tensors.outline import Memory, forecast

if TYPE_CHECKING:
    import torch

FILE = "curvature.safetensors"
EMBEDDING, HEAD, SHARED = "embedding", "head", "shared"
_SUMS, _WINDOWS, _RANDOM = "sums", "windows done", "random numbers"


class Curvature(Stage):
    """Measure the curvature of the KLD in each linear on the calibration's tokens.

    For a small change dW of one weight the KLD against the unchanged model is near
    ½ Σ_r g[r] · dW[r] H dW[r]ᵀ nats per token, with H the mean of x xᵀ over the inputs x of the
    linear, and g the mean squared gradient of the log-likelihood at its outputs, of tokens drawn
    from the model itself: the Fisher information with its Kronecker factors, the second one
    diagonal (Martens and Grosse, 2015, arXiv:1503.05671, section 3). The errors at different
    tokens are taken as independent, so for values and keys, which attention adds up, it is low.

    `out` receives curvature.safetensors, all float32. For each linear of the layers by its name:
    `<name>.hessian` [columns, columns], where linears read the same input under the first of
    them, which the file's metadata entry `shared` names for each (a JSON object); and
    `<name>.gradient_square` [rows]. For the head `head.hessian` and `head.gradient_square`
    [tokens], for the embedding `embedding.gradient_square` [columns].
    """

    packages = ("numpy", "safetensors", "torch", "transformers")
    cpu_features = True

    def forecast(self, inputs: Inputs, target: Path) -> Forecast | None:
        """From the sizes of the model."""
        return forecast(inputs, Memory(fixed=1.5e9, value=4, all_hessians=4), of_hessians=4)

    def alternatives(self, inputs: Inputs, target: Path, memory: int) -> list[str]:
        """What can be had without it."""
        return ["GGUF of a plain type, such as q4_0 or q4_k_m, needs no curvature"]

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """One forward and one backward pass over the windows, one window in memory at a time.
        An interrupted run goes on after the last window whose sums were kept.

        Raises QuantmakeError that names the linears which no token reached, or whose inputs
        are not finite.
        """
        import numpy as np
        import torch
        from safetensors.torch import save_file
        from transformers import AutoModelForCausalLM

        tokens = torch.from_numpy(np.load(inputs["calibration"] / "tokens.npy").astype(np.int64))
        model = AutoModelForCausalLM.from_pretrained(inputs["base"], dtype=torch.float32)
        model.eval().requires_grad_(False)
        sums = _Sums(tokens.numel())
        head = model.get_output_embeddings()
        names = {module: name for name, module in model.named_modules()}
        for module, name in names.items():
            if isinstance(module, torch.nn.Linear):
                sums.watch(HEAD if module is head else name, module, backward=module is not head)
        generator = torch.Generator().manual_seed(0)
        progress = Progress("curvature", len(tokens), "windows")
        checkpoints = Checkpoints.of_this_run()
        kept = checkpoints.load(_SUMS)
        if kept is not None:
            generator.set_state(kept.pop(_RANDOM))
            progress.advance(int(kept.pop(_WINDOWS)))
            sums.found = kept
        for window in tokens[int(progress.done) :]:
            embedded = model.get_input_embeddings()(window[None]).requires_grad_(True)
            logits = model(inputs_embeds=embedded).logits[0]
            chances = logits.detach().softmax(-1)
            if not bool(torch.isfinite(chances).all()):
                sums.refuse_broken()
            drawn = torch.multinomial(chances, 1, generator=generator)
            logits.log_softmax(-1).gather(1, drawn).sum().backward()
            # At the head the expectation over the drawn token is known: p (1 - p).
            sums.add(f"{HEAD}.gradient_square", (chances * (1 - chances)).sum(0))
            sums.add(f"{EMBEDDING}.gradient_square", embedded.grad[0].square().sum(0))
            sums.shared.clear()
            progress.advance()
            if checkpoints.is_due() and progress.done < len(tokens):
                done = {_WINDOWS: torch.tensor(progress.done), _RANDOM: generator.get_state()}
                checkpoints.save(_SUMS, {**sums.found, **done})
        # One entry: safetensors writes several in an order that differs from run to run.
        shared = {SHARED: json.dumps(sums.source, sort_keys=True)}
        save_file(sums.means(), out / FILE, metadata=shared)


@dataclass
class _Sums:
    """Running sums over tokens; `source` names for each linear the one with its Hessian."""

    tokens: int
    found: dict[str, "torch.Tensor"] = field(default_factory=dict)
    source: dict[str, str] = field(default_factory=dict)
    shared: dict[int, tuple[str, "torch.Tensor"]] = field(default_factory=dict)

    def add(self, key: str, term: "torch.Tensor") -> None:
        """Add to one of the sums."""
        self.found[key] = self.found[key].add_(term) if key in self.found else term.clone()

    def watch(self, name: str, module: "torch.nn.Module", *, backward: bool) -> None:
        """Take what comes in, and the gradient of what goes out."""

        def forward(_: Any, arguments: tuple["torch.Tensor", ...]) -> None:
            x = arguments[0]
            # The tensor is kept until the window's end, so that its address is not used again.
            first, _ = self.shared.setdefault(id(x), (name, x))
            self.source[name] = first
            if first == name:
                rows = x.detach().flatten(0, -2)
                self.add(f"{name}.hessian", rows.T @ rows)

        def backwards(_: Any, __: Any, gradients: tuple["torch.Tensor", ...]) -> None:
            self.add(f"{name}.gradient_square", gradients[0].flatten(0, -2).square().sum(0))

        module.register_forward_pre_hook(forward)
        if backward:
            module.register_full_backward_hook(backwards)

    def refuse_broken(self) -> None:
        """Raise QuantmakeError that names what is not finite."""
        import torch

        broken = [key for key, total in self.found.items() if not torch.isfinite(total).all()]
        if broken:
            raise QuantmakeError(
                "the calibration gives values that are not finite for "
                f"{', '.join(broken)}: the base holds infinite or NaN weights, or overflows on "
                "the calibration's text. Look at the base before anything is quantised."
            )

    def means(self) -> dict[str, "torch.Tensor"]:
        """The sums over the count of tokens; raises QuantmakeError where one says nothing."""
        self.refuse_broken()
        silent = [key for key, total in self.found.items() if not total.any()]
        if silent:
            raise QuantmakeError(
                f"the calibration never reached {', '.join(silent)} (all zero): give it more "
                "tokens (`calibration.tokens` in the recipe) or another text"
            )
        return {key: (total / self.tokens).contiguous() for key, total in self.found.items()}
