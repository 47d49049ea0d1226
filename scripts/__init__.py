"""quantmake: `make` for quantised language models."""
