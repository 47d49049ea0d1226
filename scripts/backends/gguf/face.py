"""What people see of GGUF files."""

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
    library="gguf",
    tags=("gguf", "llama.cpp"),
    terms=(
        (
            "GGUF",
            "The file format of llama.cpp: one file with weights, tokenizer and settings. Q8_0, "
            "Q4_0, Q4_K_M and so on are its types: the figure is the bits; `_0` is a scale for "
            "each block of 32; `_K` nests the scales in blocks of 256; S, M and L say how many of "
            "the more delicate tensors get more bits.",
        ),
    ),
)
