"""Writing 4-bit weights in bitsandbytes' layout, tensor by tensor."""
