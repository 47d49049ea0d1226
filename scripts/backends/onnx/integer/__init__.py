"""MatMuls of int8 weights and uint8 activations."""
