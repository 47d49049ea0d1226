"""ONNX, weights only, by GPTQ, for browsers."""

from scripts.backends.format import register
from scripts.backends.onnx.formats.gptq import OnnxGptq
from scripts.backends.onnx.web.browser import InBrowser


@register
class WebGptq(InBrowser, OnnxGptq):
    """ONNX weight-only by GPTQ, one folder for transformers.js"""
