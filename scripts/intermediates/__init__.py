"""Intermediates that several formats share: the fp32 ONNX graph, the f16 GGUF."""
