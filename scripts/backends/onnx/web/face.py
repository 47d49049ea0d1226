"""What people see of folders for browsers."""

from scripts.backends.face import Face

FACE = Face(
    title="transformers.js (browsers)",
    runtime="transformers.js",
    short="browser",
    colour=("#8a6d00", "#d9b93b"),
    marker="v",
    install="npm install @huggingface/transformers",
    language="javascript",
    code="""\
import { env, pipeline } from "@huggingface/transformers";

env.allowLocalModels = true;
env.localModelPath = "/"; // `path` begins at the root of the site
const generate = await pipeline("text-generation", path);
const [answer] = await generate("The capital of France is", { max_new_tokens: 32 });
console.log(answer.generated_text);
""",
    remark="Put the folder on any static site, or on a hub, where its name takes the place of "
    "`path` and the two settings go. `doit demo` serves it on this machine, with a page to chat. "
    "`model.onnx` at its top is for onnxruntime and onnxruntime-genai; a browser reads `onnx/` "
    "alone.",
    library="transformers.js",
    tags=("transformers.js", "onnx"),
    terms=(
        (
            "browser",
            "An ONNX folder in the naming of transformers.js, which runs it in a web page by "
            "onnxruntime-web, on the reader's own machine. Measured here by ONNX Runtime.",
        ),
    ),
)
