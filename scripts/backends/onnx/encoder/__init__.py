"""Encoders as ONNX graphs: export, INT8, and how they are run."""
