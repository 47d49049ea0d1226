"""The base of an encoder: FP16 in Hugging Face layout, with how its embeddings are pooled."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field

from scripts.base.encoder_config import Pooling, read_pooling, refuse_no_encoder, write_pooling
from scripts.errors import QuantmakeError
from scripts.footprints import FOOTPRINTS
from scripts.sources.model_files import is_kept
from scripts.stage import Stage


class EncoderBase(Stage):
    """Make the FP16 base of an encoder: safetensors, tokenizer, pooling

    What is read of the source is a Hugging Face folder, with sentence-transformers' files where it
    has them. The pooler, which no sentence embedding is made of, is left out.
    """

    footprint = FOOTPRINTS["base"]
    linkable = True

    max_shard_size: Annotated[int, Field(gt=0)] = 5_000_000_000

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError for what is no encoder, and for an unknown pooling."""
        from scripts.base.config_json import read_json, write_config, write_json
        from scripts.base.encoder_model import encoder_skeleton
        from scripts.base.from_safetensors import inventory, open_weights
        from scripts.base.transformers_5 import model_of_version_4, tokenizer_of_version_4
        from scripts.base.weights import write_fp16
        from scripts.sources.local import place

        source = inputs["source"]
        config = model_of_version_4(read_json(source / "config.json"))
        refuse_no_encoder(config)
        pooling = read_pooling(source)
        print(describe(pooling), flush=True)
        named = config.get("architectures") or ["Model"]
        family = named[0].removesuffix("ForMaskedLM").removesuffix("ForPreTraining")
        config["architectures"] = [family.removesuffix("Model") + "Model"]
        write_config(config, {}, out, trust=False)
        (out / "generation_config.json").unlink()
        for path in sorted(source.iterdir()):
            if is_kept(path.name, code=False) and path.name != "tokenizer_config.json":
                place(path, out / path.name)
        settings = source / "tokenizer_config.json"
        if settings.is_file():
            write_json(out / settings.name, tokenizer_of_version_4(read_json(settings)))
        model = encoder_skeleton(out)
        write_pooling(pooling, model.model.config.hidden_size, out)
        write_fp16(open_weights(inventory(source), model), out, self.max_shard_size)

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Compare the tensors with the architecture's and look for values that are not finite."""
        from transformers import AutoTokenizer

        from scripts.base.encoder_model import encoder_skeleton
        from scripts.tensors.finite import is_finite
        from scripts.tensors.header import tensors_in
        from scripts.tensors.mapped import mapped

        tensors = tensors_in(out)
        broken = [name for name, values in mapped(tensors).items() if not is_finite(values)]
        if broken:
            raise QuantmakeError(f"the base has values that are not finite: {', '.join(broken)}")
        model = encoder_skeleton(out)
        model.compare({name: one.shape for name, one in tensors.items()}, "the base")
        try:
            tokenizer = AutoTokenizer.from_pretrained(out)
        except Exception as error:  # a tokenizer can be wrong in every way
            reason = str(error).strip().partition("\n")[0]
            raise QuantmakeError(
                f"transformers can't read the model's tokenizer: {reason}"
            ) from error
        rows = model.model.get_input_embeddings().weight.shape[0]
        if max(tokenizer.get_vocab().values(), default=-1) >= rows:
            raise QuantmakeError(
                f"the tokenizer has ids beyond the {rows} rows of the model's embedding; it "
                "belongs to another model"
            )
        if tokenizer.pad_token_id is None:
            raise QuantmakeError("the tokenizer has no padding token, which batches need")


def describe(pooling: Pooling) -> str:
    """One line for the log."""
    normalised = "normalised" if pooling.normalise else "not normalised"
    source = "the source does not say, so these are assumed" if pooling.assumed else "of the source"
    return (
        f"pooling: {pooling.mode}, {normalised}, at most {pooling.longest} tokens a sentence "
        f"({source})"
    )
