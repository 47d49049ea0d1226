"""ONNX, weights only, in 4 and 8 bits, for browsers."""

from scripts.backends.format import register
from scripts.backends.onnx.formats.mixed import OnnxMixed
from scripts.backends.onnx.web.browser import InBrowser


@register
class WebMixed(InBrowser, OnnxMixed):
    """ONNX weight-only by GPTQ, mixed precision within a size, one folder for transformers.js"""
