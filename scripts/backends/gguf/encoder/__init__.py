"""Encoders as GGUF files: converted, quantised and run by llama.cpp."""
