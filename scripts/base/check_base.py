"""Look at a base before it is committed: tensors, values, tokenizer."""

from pathlib import Path

from scripts.base.skeleton import skeleton
from scripts.errors import QuantmakeError
from scripts.tensors.finite import is_finite
from scripts.tensors.header import tensors_in
from scripts.tensors.mapped import mapped


def check_base(folder: Path, *, trust: bool) -> None:
    """Raise QuantmakeError where the folder is not the FP16 model that its config describes."""
    tensors = tensors_in(folder)
    wrong = [f"{name} is {t.dtype}, not F16" for name, t in tensors.items() if t.dtype != "F16"]
    halves = {name: tensor for name, tensor in tensors.items() if tensor.dtype == "F16"}
    wrong += [
        f"{name} has values that are not finite"
        for name, values in mapped(halves).items()
        if not is_finite(values)
    ]
    if wrong:
        raise QuantmakeError(f"the base is broken: {'; '.join(wrong)}")
    model = skeleton(folder, trust=trust)
    model.compare({name: one.shape for name, one in tensors.items()}, "the base")
    _check_tokenizer(folder, model.model.get_input_embeddings().weight.shape[0], trust=trust)


def _check_tokenizer(folder: Path, rows: int, *, trust: bool) -> None:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)
    except Exception as error:  # a tokenizer can be wrong in every way
        reason = str(error).strip().partition("\n")[0]
        raise QuantmakeError(f"transformers can't read the model's tokenizer: {reason}") from error
    highest = max(tokenizer.get_vocab().values(), default=-1)
    if highest >= rows:
        raise QuantmakeError(
            f"the tokenizer has the id {highest}, but the model's embedding has {rows} rows; "
            "the tokenizer belongs to another model"
        )
