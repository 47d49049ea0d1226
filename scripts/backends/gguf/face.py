"""What people see of GGUF files."""

import re

from scripts.backends.face import Face

FACE = Face(
    title="llama.cpp (CPU, and what is built on it)",
    runtime="llama.cpp",
    short="GGUF",
    colour=("#b54b00", "#f0964f"),
    marker="s",
    install="pip install llama-cpp-python",
    code="""\
from llama_cpp import Llama

model = Llama(path, n_ctx=512, verbose=False)
answer = model("The capital of France is", max_tokens=24, temperature=0)
print(answer["choices"][0]["text"])
""",
    remark="Any program that is built on llama.cpp loads the same file. For a chat, call "
    "`model.create_chat_completion`.",
    embedding=(
        "pip install llama-cpp-python numpy",
        """\
import numpy as np
from llama_cpp import Llama

model = Llama(path, embedding=True, verbose=False)
texts = ["A cat sleeps on the sofa.", "The sofa has a cat on it."]
embeddings = np.array([model.embed(text, normalize=True) for text in texts])
print(embeddings[0] @ embeddings[1])
""",
        "The file says how embeddings are pooled. `llama-server --embedding -m FILE` serves them "
        "over HTTP.",
    ),
    library="gguf",
    tags=("gguf", "llama.cpp"),
    ollama=True,
    terms=(
        (
            "GGUF",
            "The file format of llama.cpp: one file with weights, tokenizer and settings. The "
            "figure in the name of a type, such as Q4_0, is the bits that most weights have.",
        ),
    ),
)


_KINDS = {
    "F16": "16-bit floating point: not quantised.",
    "BF16": "16-bit floating point with the range of 32 bits: not quantised.",
    "IQ4_NL": "4 bits whose 16 values are spaced as weights usually are, in blocks of 32.",
    "IQ4_XS": "As IQ4_NL, in blocks of 256 whose scales are quantised too.",
    "IQ3_[SM]": "About 3 bits: groups of weights are looked up in a table of patterns.",
    r"Q\d_K(_[SML])?": "Blocks of 256 whose scales are quantised too.",
    r"Q\d_0": "Blocks of 32 with a scale each.",
    r"Q\d_1": "Blocks of 32 with a scale and a minimum each.",
}
_MIX = "S, M and L say how many of the more delicate tensors get more bits."


def type_words(kind: str) -> dict[str, str]:
    """What one of llama.cpp's types means, by its name in upper case; nothing for `auto`."""
    name = kind.upper()
    texts = [text for pattern, text in _KINDS.items() if re.fullmatch(pattern, name)]
    mix = [_MIX] if re.search("_[SML]$", name) else []
    return {name: " ".join([*texts, *mix])} if texts else {}
