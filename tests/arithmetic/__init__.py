"""Tests of `scripts.arithmetic`."""
