"""Look at a base before it is committed: tensors, values, tokenizer."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from scripts.base.skeleton import skeleton
from scripts.errors import QuantmakeError
from scripts.tensors.finite import is_finite
from scripts.tensors.mapped import mapped_tensors


def check_base(folder: Path, *, trust: bool) -> None:
    """Raise QuantmakeError where the folder is not the FP16 model that its config describes."""
    shapes: dict[str, tuple[int, ...]] = {}
    wrong: list[str] = []
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:  # looks at the header as a whole
                names: list[str] = file.keys()
                types = {name: file.get_slice(name).get_dtype() for name in names}
            wrong += [f"{name} is {kind}, not F16" for name, kind in types.items() if kind != "F16"]
            halves = [name for name, kind in types.items() if kind == "F16"]
            for name, tensor in mapped_tensors(path, halves).items():
                shapes[name] = tuple(tensor.shape)
                if not is_finite(tensor):
                    wrong.append(f"{name} has values that are not finite")
        except SafetensorError as error:
            raise QuantmakeError(f"{path.name} of the base is damaged: {error}") from error
    if wrong:
        raise QuantmakeError(f"the base is broken: {'; '.join(wrong)}")
    model = skeleton(folder, trust=trust)
    model.compare(shapes, "the base")
    _check_tokenizer(folder, model.model.get_input_embeddings().weight.shape[0], trust=trust)


def _check_tokenizer(folder: Path, rows: int, *, trust: bool) -> None:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)
    except Exception as error:  # a tokenizer can be wrong in every way
        reason = str(error).strip().partition("\n")[0]
        raise QuantmakeError(f"transformers can't read the model's tokenizer: {reason}") from error
    greatest = max(tokenizer.get_vocab().values(), default=-1)
    if greatest >= rows:
        raise QuantmakeError(
            f"the tokenizer has the id {greatest}, but the model's embedding has {rows} rows; "
            "the tokenizer belongs to another model"
        )
