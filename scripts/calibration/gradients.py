"""How the output of the model depends on what each linear gives out."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from scripts.devices import Device
from scripts.errors import QuantmakeError
from scripts.footprints import FOOTPRINTS
from scripts.forecast import Forecast, Inputs
from scripts.stage import Stage

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    import torch

MOST_VALUES_AT_ONCE = 250_000_000
"""Of a model that is held whole: nothing is computed twice, but for each thread there is a window
with all that its way back needs."""


MOST_WINDOWS = 20
"""Of the calibration, spread over its kinds of text, for a mean over tokens; a model with experts
takes all windows, since each expert sees few of their tokens."""


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

    device: Device = "cpu"

    footprint = FOOTPRINTS["gradients"]

    def forecast(self, inputs: Inputs, target: Path) -> Forecast | None:
        """By the way that `run` takes."""
        said = super().forecast(inputs, target)
        if said is None or said.about.values > MOST_VALUES_AT_ONCE:
            return said
        return FOOTPRINTS["gradients at once"].for_model(inputs)

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """One forward and one backward pass over the windows, one window on each core at a time: a
        small model as a whole, a larger one layer by layer. An interrupted run goes on after the
        last window, or layer, that was kept.

        Raises QuantmakeError that names the linears which no token reached, and the weights that
        are not finite.
        """
        import torch

        from scripts.calibration.noted import NotFinite
        from scripts.calibration.spread import spread
        from scripts.calibration.stored import write_gradient_squares
        from scripts.token_windows import read_windows
        from scripts.workers import available_cores, single_core_workers

        base, windows = inputs["base"], read_windows(inputs["calibration"])
        seen = windows if _has_experts(base) else spread(windows, MOST_WINDOWS)
        tokens = torch.from_numpy(seen)
        cores = available_cores()
        with single_core_workers(cores) as pool:
            try:
                sums = self._sums(base, tokens, out, pool, cores)
            except NotFinite:
                _refuse_broken(base)
        _refuse_silent(sums)
        means = {name: (total / tokens.numel()).numpy() for name, total in sums.items()}
        write_gradient_squares(out, means)

    def _sums(
        self, base: Path, tokens: "torch.Tensor", out: Path, pool: "ThreadPoolExecutor", cores: int
    ) -> "dict[str, torch.Tensor]":
        """By the way that fits the model: the sums are the same."""
        from scripts.calibration.decoder import Decoder
        from scripts.calibration.layer_gradients import LayerGradients
        from scripts.calibration.stand_ins import UnknownLayers
        from scripts.calibration.whole_gradients import whole_gradients
        from scripts.checkpoint import Checkpoints
        from scripts.tensors.header import tensors_in
        from scripts.tensors.kept_states import KeptStates

        checkpoints = Checkpoints.of_this_run()
        if sum(one.values for one in tensors_in(base).values()) > MOST_VALUES_AT_ONCE:
            try:
                with KeptStates(out) as states:
                    decoder = Decoder(base, self.device)
                    work = (decoder, tokens, states, checkpoints, pool, cores)
                    return LayerGradients(*work).sums()
            except UnknownLayers as reason:
                print(f"the whole model is held in memory: {reason}", flush=True)
        return whole_gradients(base, tokens, checkpoints, pool, cores, self.device)


def _has_experts(base: Path) -> bool:
    from scripts.tensors.header import tensors_in

    return any(".experts." in name for name in tensors_in(base))


def _refuse_broken(base: Path) -> NoReturn:
    """Raise QuantmakeError that names the weights with NaN or infinity."""
    from scripts.tensors.finite import is_finite
    from scripts.tensors.header import tensors_in
    from scripts.tensors.mapped import mapped

    broken = [name for name, one in mapped(tensors_in(base)).items() if not is_finite(one)]
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
