"""How to load each artefact: code that a test takes out of the report and runs."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import yaml


@dataclass(frozen=True)
class Loading:
    """What loads the artefacts of one runtime: a title, what to install, the code, a remark."""

    title: str
    install: str
    code: str
    remark: str


LOADING: dict[str, Loading] = {
    "bitsandbytes": Loading(
        title="transformers with bitsandbytes",
        install="pip install torch transformers accelerate bitsandbytes",
        code="""\
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(path)
model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
text = "The capital of France is"
prompt = tokenizer(text, return_tensors="pt", return_token_type_ids=False).to(model.device)
output = model.generate(**prompt, max_new_tokens=24, do_sample=False)
print(tokenizer.decode(output[0], skip_special_tokens=True))
""",
        remark="`dtype` is what the rest is computed in; float32 is the fast one on a CPU. "
        'On a GPU, write `dtype=torch.float16, device_map="auto"`.',
    ),
    "onnx": Loading(
        title="ONNX Runtime",
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
        remark="`max_length` counts the prompt too.",
    ),
    "gguf": Loading(
        title="llama.cpp",
        install="pip install llama-cpp-python",
        code="""\
from llama_cpp import Llama

model = Llama(path, n_ctx=512, verbose=False)
answer = model("The capital of France is", max_tokens=24, temperature=0)
print(answer["choices"][0]["text"])
""",
        remark="Any program that is built on llama.cpp loads the same file.",
    ),
}
_PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)


def snippet(backend: str, paths: Sequence[str]) -> str:
    """Python that loads the first of `paths` and completes a sentence; the others are named."""
    first, *others = (json.dumps(path) for path in paths)
    lines = [f"path = {first}", *(f"# path = {other}" for other in others)]
    imports, _, rest = LOADING[backend].code.partition("\n\n")
    return "\n".join([imports, "", *lines, "", rest])


def recipe_line(line: object) -> str:
    """A line of the recipe as it may stand there."""
    text: str = yaml.safe_dump(line, default_flow_style=True, sort_keys=False, width=10**6)
    return text.strip()


def extract_snippets(markdown: str) -> list[str]:
    """The Python code blocks of a text."""
    return _PYTHON.findall(markdown)
