"""Learning scales and norms of a quantised ONNX graph from the FP16 base."""
