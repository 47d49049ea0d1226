"""Files of tensors: headers, memory maps, streamed writing. Knows no method and no backend."""
