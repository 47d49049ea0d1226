"""Weights in compressed-tensors' layouts, for vLLM, SGLang and transformers."""
