"""What the INT8 formats with integer MatMuls share: which MatMuls stay weight-only, smoothing."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from scripts.backends.format import Format
from scripts.footprints import Footprint, sum_of

if TYPE_CHECKING:
    import onnx_ir as ir

    from scripts.backends.onnx.graph import Linear
    from scripts.backends.onnx.integer.selection import Quantiser
    from scripts.backends.onnx.integer.smooth import Factors
    from scripts.backends.onnx.integer.weights import WeightOf

_COMPENSATED = "scripts.backends.onnx.integer.compensated"
_SELECTION = "scripts.backends.onnx.integer.selection"
_WEIGHT_ONLY_BLOCK = 32
_USUAL = ("lm_head", "down_proj")
# What the second of them is called elsewhere: the MatMul whose inputs have the widest range.
_DOWN = ("down_proj", "mlp*c_proj", "dense_4h_to_h", "/fc2/", "/w2/", "feed_forward*w2")
_WINDOWS_TO_CHOOSE_ON = 12


class OnnxInteger(Format):
    """MatMuls of 8-bit weights and activations.

    Those whose inputs have too wide a range for 8 bits are weight-only, and so is the embedding
    with the head.
    """

    format: Literal["onnx"]
    bits: Literal[8]
    weight_only: tuple[str, ...] | Literal["auto"] = _USUAL
    """MatMuls with float activations, by parts of their nodes' names (the usual ones stand for the
    head and the end of each MLP, whatever a model calls them); `auto`: as few as `max_kld` allows,
    chosen on the calibration's text"""
    max_kld: Annotated[float, Field(gt=0)] | None = None
    """KL divergence that the integer MatMuls may cost, in nats, on the worst of twelve windows;
    with `weight_only: auto`"""
    smooth: bool = True
    """fold outliers of the activations into the weights (SmoothQuant)"""
    per_channel: bool = True
    """a scale for each column of a weight, not one for all"""
    rounding: Literal["gptq", "rtn"] = "gptq"
    """of the integer weights: `gptq` makes up for errors by the calibration's inputs, `rtn` rounds
    to nearest"""
    weights: Literal["uint8", "int8"] = "uint8"
    """`uint8` computes the same on every processor; `int8` multiplies twice as fast where there is
    VNNI (Intel's servers since 2019, AMD since Zen 4) and loses quality on x86 without, where
    onnxruntime's sums saturate"""

    title: ClassVar[str]
    backend = "onnx"
    packages = ("onnx", "onnx-ir", "onnxruntime")

    @model_validator(mode="after")
    def _fits_together(self) -> "OnnxInteger":
        if (self.weight_only == "auto") != (self.max_kld is not None):
            raise PydanticCustomError(
                "max_kld", "`weight_only: auto` and `max_kld` (in nats, such as 0.01) go together"
            )
        return self

    def needed(self) -> tuple[str, ...]:
        """The calibration too, where the choice is made on it."""
        return tuple(dict.fromkeys((*self.needs, *["calibration"] * (self.max_kld is not None))))

    def reaches(self) -> tuple[str, ...]:
        """What chooses, where the choice is made, and GPTQ, where it rounds."""
        gptq, chooses = self.rounding == "gptq", self.max_kld is not None
        return (*[_COMPENSATED] * gptq, *[_SELECTION] * chooses)

    def label(self) -> str:
        """Such as `INT8 static (ONNX)`."""
        return f"INT8 {self.title} (ONNX)"

    def words(self) -> dict[str, str]:
        """What is done beside the method, too."""
        from scripts.methods.words import WORDS

        chosen = {
            "SmoothQuant": self.smooth,
            "GPTQ": self.rounding == "gptq",
            "mixed precision": self.max_kld is not None,
        }
        return {**super().words(), **{word: WORDS[word] for word in chosen if chosen[word]}}

    def takes(self) -> Footprint:
        """Choices are made with graphs in memory."""
        chooses = self.max_kld is not None or "calibration" in self.needed()
        return sum_of("onnx integer", *["onnx selection"] * chooses)

    def quantiser(
        self, inputs: Mapping[str, Path], integer: "list[Linear]", factors: "Factors"
    ) -> "Quantiser":
        """What makes MatMuls integer, for any of `integer`; `factors` as `smooth` gives them."""
        raise NotImplementedError

    def weight_of(
        self, inputs: Mapping[str, Path], integer: "list[Linear]", factors: "Factors"
    ) -> "WeightOf":
        """What gives the integer weights of any of `integer`."""
        from functools import partial

        from scripts.backends.onnx.integer.weights import nearest_of

        if self.rounding == "rtn":
            return partial(nearest_of, per_channel=self.per_channel, kind=self.weights)
        gptq: WeightOf = importlib.import_module(_COMPENSATED).compensated(
            inputs["capture"], integer, factors, per_channel=self.per_channel, kind=self.weights
        )
        return gptq

    def windows_of_ranges(self) -> int:
        """How many windows of the calibration the ranges are taken over; choices see others."""
        return 0

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError for a pattern that matches nothing and for broken activations."""
        from scripts.backends.onnx.blocks.nearest import quantise_linears
        from scripts.backends.onnx.graph import (
            head,
            linears,
            matches,
            open_graph,
            save_graph,
            split,
        )
        from scripts.backends.onnx.integer.smooth import smooth
        from scripts.calibration.stored import Captured

        model = open_graph(inputs["graph"], out)
        last = head(model)
        within = [one for one in linears(model) if last is None or one.node is not last.node]
        if isinstance(self.weight_only, str):
            integer = within
        elif self.weight_only == _USUAL:
            integer = [one for one in within if not any(matches(one.name, end) for end in _DOWN)]
        else:
            integer, _ = split(linears(model), list(self.weight_only))
        factors = smooth(model, Captured(inputs["capture"]), integer) if self.smooth else {}
        quantise = self.quantiser(inputs, integer, factors)
        if self.max_kld is not None:
            integer = self._selected(model, integer, quantise, inputs["calibration"], out)
        chosen = {one.node for one in integer}
        blocks = [one for one in linears(model) if one.node not in chosen]
        quantise_linears(
            model,
            blocks,
            bits=8,
            block_size=_WEIGHT_ONLY_BLOCK,
            accuracy_level=4,
            head_bits=8,
        )
        quantise(model, integer)
        save_graph(model, inputs["graph"], out)

    def _selected(
        self,
        model: "ir.Model",
        candidates: "list[Linear]",
        quantise: "Quantiser",
        calibration: Path,
        out: Path,
    ) -> "list[Linear]":
        """Those of the candidates that may be integer; the log names the others."""
        import tempfile

        from scripts.calibration.spread import left_out, spread
        from scripts.token_windows import read_windows
        from scripts.workers import available_cores

        assert self.max_kld is not None
        unseen = left_out(read_windows(calibration), self.windows_of_ranges())
        tokens = spread(unseen, _WINDOWS_TO_CHOOSE_ON)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".trial-") as scratch:
            selection = importlib.import_module(_SELECTION).select(
                model,
                candidates,
                quantise,
                tokens,
                max_kld=self.max_kld,
                threads=available_cores(),
                scratch=Path(scratch),
            )
        kept = [one.name for one in candidates if one.name not in selection.integer]
        print(
            f"{len(selection.integer)} of {selection.tried} MatMuls are integer, which costs "
            f"{selection.divergence:.4f} nats; weight-only: {', '.join(kept) or 'none of these'}"
        )
        return [one for one in candidates if one.name in selection.integer]

    def difference(self, before: Path, after: Path) -> str:
        """By initialisers: codes, scales, zero points."""
        from scripts.backends.onnx.check import difference_of

        return difference_of(before, after)

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """It loads, every MatMul was quantised, its scales and logits are finite."""
        from scripts.backends.onnx.check import check_artifact

        check_artifact(inputs["graph"], out)
