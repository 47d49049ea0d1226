"""What people see of MLX folders."""

from scripts.backends.face import Face

FACE = Face(
    title="mlx-lm (Apple silicon)",
    runtime="mlx-lm",
    short="MLX",
    colour=("#b0527a", "#e58fb4"),
    marker="X",
    install="pip install mlx-lm",
    code="""\
from mlx_lm import generate, load

model, tokenizer = load(path)
print(generate(model, tokenizer, prompt="The capital of France is", max_tokens=24))
""",
    remark='In the terminal of a Mac: `mlx_lm.generate --model PATH --prompt "The capital of '
    'France is"`, or `mlx_lm.chat --model PATH`; `mlx_lm.server --model PATH` has the interface of '
    "OpenAI's. On Linux it runs on the processor with `pip install 'mlx-lm[cpu]'`. Its quality was "
    "measured there, in float32, with numpy's products for prompts; its speed there is no Mac's.",
    library="mlx",
    tags=("mlx",),
    terms=(
        (
            "MLX",
            "Apple's library for machine learning on its own processors, and the folder that its "
            "mlx-lm loads. Weights are integer codes of 2 to 8 bits in groups of a row; a group "
            "has a scale and a bias in FP16, and a value is code · scale + bias.",
        ),
    ),
)
