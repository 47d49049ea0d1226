"""What people see of bitsandbytes folders."""

from scripts.backends.face import Face

TYPES = {
    "NF4": "A 4-bit type whose 16 values are spaced as weights usually are: densely around 0.",
    "FP4": "A 4-bit floating-point type: a sign, two bits of exponent and one of mantissa.",
}

FACE = Face(
    title="transformers and bitsandbytes (GPU or CPU)",
    runtime="transformers with bitsandbytes",
    short="bitsandbytes",
    colour=("#b0447f", "#e48abc"),
    marker="D",
    install="pip install torch transformers accelerate bitsandbytes",
    code="""\
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(path)
model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
torch.nn.Module.float(model)  # the norms and the embedding, which are stored in FP16
text = "The capital of France is"
prompt = tokenizer(text, return_tensors="pt", return_token_type_ids=False).to(model.device)
output = model.generate(**prompt, max_new_tokens=24, do_sample=False)
print(tokenizer.decode(output[0], skip_special_tokens=True))
""",
    remark="`dtype` is what the rest is computed in; float32 is the fast one on a CPU. "
    'On a GPU, write `dtype=torch.float16, device_map="auto"`, and leave out the line after it. '
    "For a chat, take the prompt from "
    "`tokenizer.apply_chat_template`.",
    library="transformers",
    tags=("bitsandbytes", "4-bit"),
    terms=(
        (
            "bitsandbytes",
            "A folder that transformers loads as it does any model, on GPUs as well as CPUs. "
            "Double quantisation means that the scales are quantised too.",
        ),
    ),
)
