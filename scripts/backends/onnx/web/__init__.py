"""ONNX folders as transformers.js loads them in a browser."""
