"""ONNX for onnxruntime."""
