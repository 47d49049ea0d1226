"""4-bit weights in bitsandbytes' layout, for transformers."""
