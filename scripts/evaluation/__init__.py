"""Measuring artefacts: quality against the FP16 base, speed, size, memory, samples."""
