"""The ONNX formats: one module each, which registers itself."""
