"""INT8 of an encoder's ONNX graph: weight-only in blocks, dynamic, static."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from scripts.backends.format import Format, register
from scripts.footprints import sum_of

if TYPE_CHECKING:
    import onnx_ir as ir

    from scripts.backends.onnx.graph import Linear
    from scripts.backends.onnx.integer.weights import WeightOf

_DYNAMIC = """\
The values that flow through the model, its activations, are rounded to 8 bits too, so that the \
arithmetic itself is done in integers. Their scale is chosen anew for each batch, while the model \
runs, so that a sentence's embedding depends a little on the others beside it; those of static \
and weight-only artefacts do not."""
WeightType = Literal["uint8", "int8"]


class EncoderOnnx(Format):
    """What they share: the embedding in blocks of 8 bits, the folder's other files, the checks."""

    format: Literal["onnx"]
    bits: Literal[8]
    block_size: Annotated[int, Field(ge=16, le=256)] = 32
    """weights that share a scale, of the embedding and of weight-only MatMuls: 16, 32, 64, …"""

    title: ClassVar[str]
    backend = "onnx"
    model = "encoder"
    needs: ClassVar[tuple[str, ...]] = ("graph",)
    packages = ("onnx", "onnx-ir", "onnxruntime")
    footprint = sum_of("onnx integer")

    def label(self) -> str:
        """Such as `INT8 static (ONNX)`."""
        return f"INT8 {self.title} (ONNX)"

    def chosen(self, model: "ir.Model") -> "list[Linear]":
        """The MatMuls that become integer ones; the others are weight-only."""
        return []

    def integer(
        self, model: "ir.Model", chosen: "list[Linear]", inputs: Mapping[str, Path]
    ) -> None:
        """Make integer MatMuls of those that were chosen."""

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError where the block size does not divide a width."""
        from scripts.backends.onnx.blocks.nearest import quantise_linears
        from scripts.backends.onnx.encoder.folder import copy_beside
        from scripts.backends.onnx.graph import linears, open_graph, write_model

        model = open_graph(inputs["graph"], out)
        chosen = self.chosen(model)
        nodes = {one.node for one in chosen}
        quantise_linears(
            model,
            [one for one in linears(model) if one.node not in nodes],
            bits=8,
            block_size=self.block_size,
            accuracy_level=4,
            head_bits=8,
        )
        self.integer(model, chosen, inputs)
        write_model(model, out)
        copy_beside(inputs["graph"], out)

    def difference(self, before: Path, after: Path) -> str:
        """By initialisers: codes, scales, zero points."""
        from scripts.backends.onnx.check import difference_of

        return difference_of(before, after)

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Every MatMul was quantised, it loads, its embeddings are finite."""
        from scripts.backends.onnx.encoder.check import check_encoder

        check_encoder(inputs["graph"], out)


@register
class EncoderRtn(EncoderOnnx):
    """ONNX INT8 of an encoder, weights in blocks, one folder"""

    method: Literal["rtn"]
    title = "rtn"


class EncoderInteger(EncoderOnnx):
    """Integer MatMuls, whose activations are smoothed by what the calibration fed to them."""

    weight_only: tuple[str, ...] | Literal["narrowing"]
    smooth: bool = True
    """give outliers of the activations to the weights (SmoothQuant), by a multiplication before
    each MatMul"""
    weights: WeightType = "uint8"
    """`uint8` computes the same on every processor; `int8` is twice as fast where there is VNNI
    (Intel's servers since 2019, AMD since Zen 4) and loses quality on x86 without, where
    onnxruntime's sums saturate"""

    needs = ("graph", "capture")

    def words(self) -> dict[str, str]:
        """What is done beside the method, too."""
        from scripts.methods.words import WORDS

        more = {"SmoothQuant": WORDS["SmoothQuant"]} if self.smooth else {}
        return {**super().words(), **more}

    def chosen(self, model: "ir.Model") -> "list[Linear]":
        """Raises QuantmakeError for a pattern of `weight_only` that matches nothing."""
        from scripts.backends.onnx.graph import linears, split

        if isinstance(self.weight_only, str):
            return [one for one in linears(model) if one.columns <= one.rows]
        return split(linears(model), list(self.weight_only))[0]

    def integer(
        self, model: "ir.Model", chosen: "list[Linear]", inputs: Mapping[str, Path]
    ) -> None:
        """As `EncoderOnnx.integer`."""
        from scripts.backends.onnx.encoder.smooth import Statistics, smooth

        statistics = Statistics(inputs["capture"])
        ranges = smooth(model, chosen, statistics, unchanged=not self.smooth)
        self.quantise(model, chosen, ranges)

    def quantise(
        self, model: "ir.Model", chosen: "list[Linear]", ranges: Mapping[str, tuple[float, float]]
    ) -> None:
        """`ranges` are those of the MatMuls' inputs, by name."""
        raise NotImplementedError

    def weight_of(self) -> "WeightOf":
        """What gives the integer weights: the capture of an encoder holds no Hessians."""
        from functools import partial

        from scripts.backends.onnx.integer.weights import nearest_of

        return partial(nearest_of, per_channel=True, kind=self.weights)


@register
class EncoderDynamic(EncoderInteger):
    """ONNX INT8 dynamic of an encoder, one folder"""

    method: Literal["dynamic"]
    weight_only: tuple[str, ...] | Literal["narrowing"] = "narrowing"
    """MatMuls with float activations, by parts of their nodes' names, such as /output/dense;
    `narrowing` stands for those with fewer outputs than inputs, the ends of the MLPs, whose inputs
    have the widest range"""

    title = "dynamic"

    def words(self) -> dict[str, str]:
        """What it means for a batch."""
        return {**super().words(), "dynamic": _DYNAMIC}

    def quantise(
        self, model: "ir.Model", chosen: "list[Linear]", ranges: Mapping[str, tuple[float, float]]
    ) -> None:
        """Activations get their scales at run time."""
        from scripts.backends.onnx.integer.nodes import dynamic

        dynamic(model, chosen, self.weight_of())


@register
class EncoderStatic(EncoderInteger):
    """ONNX INT8 static of an encoder (calibrated QDQ), one folder"""

    method: Literal["static"]
    weight_only: tuple[str, ...] | Literal["narrowing"] = ()
    """MatMuls with float activations, as of `dynamic`"""

    title = "static"

    def quantise(
        self, model: "ir.Model", chosen: "list[Linear]", ranges: Mapping[str, tuple[float, float]]
    ) -> None:
        """Activations have ranges from the calibration."""
        from scripts.backends.onnx.integer.nodes import static

        static(model, chosen, ranges, self.weight_of())
