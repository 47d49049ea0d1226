"""From a source to the FP16 base: a Hugging Face folder with safetensors and tokenizer."""
