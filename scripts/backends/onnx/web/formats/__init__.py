"""The formats for browsers, one module for each method, as those of ONNX."""
