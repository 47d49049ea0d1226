"""One small interface over PyTorch, onnxruntime and llama.cpp: token ids in, logits out."""
