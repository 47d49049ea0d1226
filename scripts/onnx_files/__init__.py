"""Editing ONNX graphs: weights become blocks or integers, activations get their ranges."""
