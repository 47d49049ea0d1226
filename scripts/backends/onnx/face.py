"""What people see of ONNX folders."""

from scripts.backends.face import Face

FACE = Face(
    title="ONNX Runtime (CPU)",
    runtime="ONNX Runtime",
    short="ONNX",
    colour=("#0072b2", "#58b0e8"),
    marker="o",
    install="pip install onnxruntime-genai",
    code="""\
import onnxruntime_genai as og

model = og.Model(path)
tokenizer = og.Tokenizer(model)
settings = og.GeneratorParams(model)
settings.set_search_options(max_length=32, do_sample=False)
generator = og.Generator(model, settings)
generator.append_tokens(tokenizer.encode("The capital of France is"))
while not generator.is_done():
    generator.generate_next_token()
print(tokenizer.decode(generator.get_sequence(0)))
""",
    remark="`max_length` counts the prompt too. For a chat, take the prompt from "
    "`tokenizer.apply_chat_template`.",
    library="onnx",
    tags=("onnx", "onnxruntime-genai"),
    terms=(
        (
            "ONNX",
            "A folder with the model as a graph of operations, which ONNX Runtime executes: on "
            "servers, desktops, phones, from many programming languages. In the tables, "
            "MatMulNBits is its multiplication with weights in blocks, GatherBlockQuantized its "
            "embedding in blocks.",
        ),
    ),
)
