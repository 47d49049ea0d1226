"""The base: the model in FP16, in Hugging Face layout, from a GGUF file or from safetensors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field

from scripts.errors import QuantmakeError
from scripts.footprints import FOOTPRINTS
from scripts.sources.model_files import refuse_pickles
from scripts.stage import Stage


class Base(Stage):
    """Make the FP16 base: safetensors, configuration and tokenizer in Hugging Face layout.

    `off_grid` is a seed: the weights are rescaled without changing the function, for a source
    whose weights lie on a 4-bit grid. `trust_remote_code` lets the model's own Python code run. A
    file has at most `max_shard_size` bytes of weights, or one tensor.
    """

    footprint = FOOTPRINTS["base"]
    linkable = True

    off_grid: Annotated[int, Field(ge=0)] | None = None
    trust_remote_code: bool = False
    max_shard_size: Annotated[int, Field(gt=0)] = 5_000_000_000

    def refusal(self, inputs: Mapping[str, object]) -> str:
        """An encoder has a base of another kind."""
        from scripts.base.encoder_config import is_encoder
        from scripts.forecast import Outline

        about = getattr(inputs.get("source"), "about", None)
        if not isinstance(about, Outline) or not is_encoder(about.model_type, about.architectures):
            return ""
        named = f"{about.model_type} ({', '.join(about.architectures)})"
        return (
            f"the source is an encoder, {named}: it writes no text, but embeds sentences. Write "
            "`kind: encoder` under `model` in the recipe; docs/recipe.md has its formats"
        )

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Read the folder `source`: one GGUF file, or safetensors in Hugging Face layout."""
        from scripts.base.from_gguf import import_gguf
        from scripts.base.from_safetensors import import_safetensors
        from scripts.base.off_grid import move_off_grid
        from scripts.base.weights import write_fp16

        source = inputs["source"]
        if gguf := _gguf_file(source):
            weights = import_gguf(gguf, out)
        else:
            weights = import_safetensors(source, out, trust=self.trust_remote_code)
        if self.off_grid is not None:
            weights = move_off_grid(weights, out / "config.json", self.off_grid)
        write_fp16(weights, out, self.max_shard_size)

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Compare the tensors with the architecture's and look for values that are not finite."""
        from scripts.base.weights import check_base

        check_base(out, trust=self.trust_remote_code)


def _gguf_file(source: Path) -> Path | None:
    """The one GGUF file of the source, or None where it holds safetensors."""
    names = sorted(path.name for path in source.iterdir())
    ggufs = [name for name in names if name.endswith(".gguf")]
    if any(name.endswith(".safetensors") for name in names):
        return None
    if len(ggufs) == 1:
        return source / ggufs[0]
    if ggufs:
        raise QuantmakeError(
            f"the source holds {len(ggufs)} GGUF files ({', '.join(ggufs)}), but a base is made "
            "of one; join the parts with `llama-gguf-split --merge` and name the result"
        )
    refuse_pickles("the source", names)
    raise QuantmakeError(
        f"the source holds no model: neither a .gguf file nor .safetensors "
        f"(found {', '.join(names) or 'nothing'})"
    )
