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
    embedding=(
        "pip install onnxruntime tokenizers numpy",
        """\
import json
import os
import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

session = ort.InferenceSession(os.path.join(path, "model.onnx"))
tokenizer = Tokenizer.from_file(os.path.join(path, "tokenizer.json"))
pooling = json.load(open(os.path.join(path, "1_Pooling", "config.json")))
tokenizer.enable_padding(pad_id=json.load(open(os.path.join(path, "config.json")))["pad_token_id"])
batch = tokenizer.encode_batch(["A cat sleeps on the sofa.", "The sofa has a cat on it."])
ids = np.array([one.ids for one in batch])
mask = np.array([one.attention_mask for one in batch])
given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
names = [entry.name for entry in session.get_inputs()]
states = session.run(["last_hidden_state"], {name: given[name] for name in names})[0]
mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
embeddings = states[:, 0] if pooling["pooling_mode_cls_token"] else mean
embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
print(embeddings[0] @ embeddings[1])
""",
        "The folder is sentence-transformers', with `model.onnx` at its top: optimum's "
        "`ORTModelForFeatureExtraction.from_pretrained(path)` loads it too. For texts longer than "
        "the model takes, `tokenizer.enable_truncation(…)` with `max_seq_length` of "
        "`sentence_bert_config.json`.",
    ),
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
