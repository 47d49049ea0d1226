"""GGUF files, made with llama.cpp's own converter and quantiser."""
