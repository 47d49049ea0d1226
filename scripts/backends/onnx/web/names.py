"""What transformers.js calls a model's files, and which models it can run.

Source: @huggingface/transformers 4.3.2, src/utils/dtypes.js, src/utils/model-loader.js,
src/configs.js, src/models/registry.js. A test compares with the package itself.
"""

FOLDER = "onnx"
SUFFIXES = {"fp32": "", "q8": "_quantized", "q4": "_q4"}
"""Ends of a graph's name by the dtype that people ask for, of those that are written here."""

LAYERS = {
    "cohere": "num_hidden_layers",
    "falcon": "num_hidden_layers",
    "gemma": "num_hidden_layers",
    "gemma2": "num_hidden_layers",
    "gemma3_text": "num_hidden_layers",
    "gpt2": "n_layer",
    "gpt_neox": "num_hidden_layers",
    "granite": "num_hidden_layers",
    "llama": "num_hidden_layers",
    "mistral": "num_hidden_layers",
    "olmo": "num_hidden_layers",
    "olmo2": "num_hidden_layers",
    "phi": "num_hidden_layers",
    "phi3": "num_hidden_layers",
    "qwen2": "num_hidden_layers",
    "qwen3": "num_hidden_layers",
    "qwen3_moe": "num_hidden_layers",
    "smollm3": "num_hidden_layers",
    "stablelm": "num_hidden_layers",
}
"""Where the config has the number of layers, by model_type: those that are exported to ONNX here
and that transformers.js knows, with one key and one value of the cache for each layer."""

FED = frozenset({"input_ids", "attention_mask", "position_ids", "num_logits_to_keep"})
"""What it feeds to a decoder's graph, beside the cache."""


def graph_name(dtype: str) -> str:
    """Such as `model_q4.onnx`."""
    return f"model{SUFFIXES[dtype]}.onnx"


def data_name(graph: str, number: int) -> str:
    """Of a graph's external data: `model_q4.onnx_data`, `model_q4.onnx_data_1`, and so on."""
    return f"{graph}_data" + (f"_{number}" if number else "")


def cache_names(layers: int) -> set[str]:
    """The inputs of a graph that hold the cache."""
    return {
        f"past_key_values.{layer}.{kind}" for layer in range(layers) for kind in ("key", "value")
    }
