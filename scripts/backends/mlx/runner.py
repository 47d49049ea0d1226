"""A process of MLX's own environment that answers with logits.

    python -I runner.py FOLDER

It imports mlx_lm and numpy alone, and of this project nothing. A request is `REQUEST` and so many
token ids (int32); the answer is `ANSWER` and rows of logits (float32), or, with no columns, so many
bytes of UTF-8 that say what went wrong. The first answer, of no rows, says that the model is
loaded.

The model, its cache and its functions are mlx-lm's, in float32. On processors MLX multiplies
matrices by a reference BLAS, a minute for 512 tokens of a small model: for several tokens at once,
products with weights, as `mlx.core.dequantize` gives them, and those of attention are numpy's here.
"""

import os
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

REQUEST = struct.Struct("<cII")
"""What to do, the first token whose logits are wanted, and how many tokens follow."""
ANSWER = struct.Struct("<II")
"""Rows and columns."""
ANEW, APPEND, WHOLE = b"n", b"a", b"w"
"""Start anew with the tokens, append them, or compute them without a cache."""


def main(folder: Path, requests: BinaryIO, answers: BinaryIO) -> None:
    """Load the model, then answer until the requests end."""
    import mlx.core as mx
    import numpy as np
    from mlx_lm.models.cache import make_prompt_cache
    from mlx_lm.utils import load_model

    model, _ = load_model(folder)
    model.set_dtype(mx.float32)
    multiply_by_numpy()
    answers.write(ANSWER.pack(0, 1))
    answers.flush()
    cache: Any = None
    while header := requests.read(REQUEST.size):
        kind, first, count = REQUEST.unpack(header)
        tokens = mx.array(np.frombuffer(requests.read(4 * count), "<i4"))[None]
        if kind == ANEW:
            cache = make_prompt_cache(model)
        logits = model(tokens, cache=None if kind == WHOLE else cache)[0, first:]
        rows = np.ascontiguousarray(np.array(logits.astype(mx.float32)), "<f4")
        answers.write(ANSWER.pack(*rows.shape))
        answers.write(rows.data)
        answers.flush()


def multiply_by_numpy() -> None:
    """Put numpy's products in the place of those of linears, of heads and of attention."""
    import mlx.core as mx
    import numpy as np
    from mlx import nn

    weights: dict[int, Any] = {}

    def dense(module: Any) -> Any:
        """Its weight [N, K], float32."""
        if id(module) not in weights:
            weight = module["weight"]
            if "scales" in module:
                scales, biases = module["scales"], module.get("biases")
                options = {"group_size": module.group_size, "bits": module.bits}
                weight = mx.dequantize(weight, scales, biases, **options, mode=module.mode)
            weights[id(module)] = module, np.array(weight)  # the id is its own while it is held
        return weights[id(module)][1]

    def by_numpy(own: Any) -> Any:
        def product(self: Any, x: Any) -> Any:
            if x.shape[-2] == 1:
                return own(self, x)
            made = mx.array(np.matmul(np.array(x), dense(self).T))
            return made + self["bias"] if "bias" in self else made

        return product

    for kind in (nn.Linear, nn.QuantizedLinear):
        kind.__call__ = by_numpy(kind.__call__)
    for kind in (nn.Embedding, nn.QuantizedEmbedding):
        kind.as_linear = by_numpy(kind.as_linear)
    mx.fast.scaled_dot_product_attention = attention(mx.fast.scaled_dot_product_attention)


def attention(own: Any) -> Any:
    """Attention with numpy's products, where `own`, which is MLX's, has several queries to answer.

    Queries [batch, heads, n, K], keys [batch, heads / repeats, m, K], values likewise.
    """
    import mlx.core as mx
    import numpy as np

    def attend(q: Any, k: Any, v: Any, *, scale: float, mask: Any = None, **more: Any) -> Any:
        batch, heads, n, columns = q.shape
        if n == 1 or any(one is not None for one in more.values()):
            return own(q, k, v, scale=scale, mask=mask, **more)
        keys, values = (np.array(one)[:, :, None] for one in (k, v))
        grouped = np.array(q).reshape(batch, k.shape[1], -1, n, columns)
        scores = mx.array(np.matmul(grouped * np.float32(scale), np.swapaxes(keys, -1, -2)))
        scores = scores.reshape(batch, heads, n, -1)
        m = scores.shape[-1]
        if isinstance(mask, str):  # "causal"
            mask = mx.arange(m - n, m)[:, None] >= mx.arange(m)[None]
        if mask is not None and mask.dtype == mx.bool_:
            scores = mx.where(mask, scores, mx.finfo(scores.dtype).min)
        elif mask is not None:
            scores = scores + mask
        shares = np.array(mx.softmax(scores, axis=-1, precise=True))
        made = np.matmul(shares.reshape(batch, k.shape[1], -1, n, m), values)
        return mx.array(made.reshape(batch, heads, n, -1))

    return attend


def tell(error: Exception, answers: BinaryIO) -> None:
    """Answer with what went wrong."""
    text = f"{type(error).__name__}: {error}".encode()
    answers.write(ANSWER.pack(len(text), 0) + text)
    answers.flush()


if __name__ == "__main__":
    # Whatever MLX prints goes to the errors; only answers go to the parent.
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        main(Path(sys.argv[1]), sys.stdin.buffer, channel)
    except Exception as error:
        tell(error, channel)
        raise
