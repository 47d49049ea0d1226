"""What people see of compressed-tensors folders."""

from scripts.backends.face import Face

SCHEMES = {
    "W4A16": "Weights in 4 bits, in groups that share a scale; activations stay in 16 bits. It "
    "helps decoding most, and a GPU's memory.",
    "W8A16": "Weights in 8 bits, in groups that share a scale; activations stay in 16 bits.",
    "W8A8": "Weights in 8 bits, a scale for each row, and activations in 8 bits, a scale for each "
    "token, so that a GPU multiplies integers: it helps prefill and many users at a time.",
    "FP8_DYNAMIC": "Weights and activations as 8-bit floating point (E4M3), a scale for each row "
    "and for each token. GPUs from Ada and Hopper on multiply it.",
    "NVFP4A16": "Weights as 4-bit floating point (E2M1) in groups of 16, whose scales are 8-bit "
    "floating point; activations stay in 16 bits. Blackwell GPUs have it in hardware.",
}

FACE = Face(
    title="vLLM, SGLang or transformers (GPU or CPU)",
    runtime="vLLM, SGLang and transformers with compressed-tensors",
    short="compressed-tensors",
    colour=("#7a5cb8", "#b49be0"),
    marker="P",
    install="pip install torch transformers accelerate compressed-tensors",
    code="""\
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(path)
model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16)
text = "The capital of France is"
prompt = tokenizer(text, return_tensors="pt", return_token_type_ids=False).to(model.device)
output = model.generate(**prompt, max_new_tokens=24, do_sample=False)
print(tokenizer.decode(output[0], skip_special_tokens=True))
""",
    remark="To serve it on a GPU: `vllm serve PATH`, or `python -m sglang.launch_server "
    "--model-path PATH`; both find the scheme in config.json. In Python: `from vllm import LLM; "
    'print(LLM(path).generate("The capital of France is")[0].outputs[0].text)`. transformers '
    "turns the weights back into floating point as it loads them, and rounds activations as the "
    "scheme says: it shows what the artefact answers, not how fast it is.",
    library="transformers",
    tags=("compressed-tensors", "vllm"),
    terms=(
        (
            "compressed-tensors",
            "The folder that llm-compressor writes and that vLLM and SGLang serve; transformers "
            "loads it too. The head and the embedding stay in FP16.",
        ),
    ),
)
