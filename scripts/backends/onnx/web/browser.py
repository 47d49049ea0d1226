"""What the formats for browsers add to those of ONNX: another layout of the same folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from scripts.backends.format import Format
from scripts.forecast import Inputs


class InBrowser(Format):
    """An ONNX format in transformers.js' naming; it stands before that format among the bases."""

    if not TYPE_CHECKING:  # in the place of that of the ONNX format, which is another
        format: Literal["onnx-web"]

    backend = "onnx-web"

    def needed(self) -> tuple[str, ...]:
        """The base too, whose generation_config.json ends answers."""
        return tuple(dict.fromkeys((*super().needed(), "base")))

    def label(self) -> str:
        """Such as `INT4 RTN (browser)`."""
        return super().label().replace("(ONNX)", "(browser)")

    def refusal(self, inputs: Inputs) -> str:
        """More weights than a browser's WebAssembly addresses."""
        from scripts.backends.onnx.web.fit import too_large

        said = self.forecast(inputs, Path())
        return super().refusal(inputs) or (too_large(said.disk) if said is not None else "")

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError for a model that transformers.js does not know, too."""
        from scripts.backends.onnx.web.fit import refuse_unfit
        from scripts.backends.onnx.web.layout import lay_out

        refuse_unfit(inputs["graph"])
        super().run(inputs, out)
        lay_out(out, inputs["base"] / "generation_config.json")

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Every file has the name by which transformers.js looks for it, too."""
        from scripts.backends.onnx.web.fit import refuse_misnamed

        super().check(inputs, out)
        refuse_misnamed(out)
