"""What people see of OpenVINO folders."""

from scripts.backends.face import Face

FACE = Face(
    title="OpenVINO (CPU)",
    runtime="OpenVINO",
    short="OpenVINO",
    colour=("#00796b", "#4cc9b0"),
    marker="^",
    install="pip install openvino transformers",
    code="""\
import numpy as np
import openvino as ov
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(path)
settings = {"INFERENCE_PRECISION_HINT": "f32"}
model = ov.Core().compile_model(f"{path}/openvino_model.xml", "CPU", settings)
request = model.create_infer_request()
tokens = tokenizer("The capital of France is")["input_ids"]
new = tokens
for _ in range(24):
    feeds = {"input_ids": [new], "attention_mask": np.ones((1, len(tokens)), np.int64)}
    logits = request.infer({**feeds, "beam_idx": np.zeros(1, np.int32)})["logits"]
    new = [int(logits[0, -1].argmax())]
    tokens = tokens + new
print(tokenizer.decode(tokens))
""",
    remark="The model keeps its cache; `request.reset_state()` begins anew. It is an IR as "
    "OpenVINO's own tools for language models take it. For a chat, take the prompt from "
    "`tokenizer.apply_chat_template`.",
    library="openvino",
    tags=("openvino",),
    terms=(
        (
            "OpenVINO",
            "Intel's runtime and its files: a graph in XML, and beside it the weights, which its "
            "CPU plugin multiplies with as they are, in 4 or 8 bits. In the tables, I4 and I8 are "
            "codes without zero points, U4 and U8 codes with them.",
        ),
    ),
)
