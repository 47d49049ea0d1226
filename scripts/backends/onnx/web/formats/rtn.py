"""ONNX, weights only, rounded to nearest, for browsers."""

from scripts.backends.format import register
from scripts.backends.onnx.formats.rtn import OnnxRtn
from scripts.backends.onnx.web.browser import InBrowser


@register
class WebRtn(InBrowser, OnnxRtn):
    """ONNX weight-only, rounded to nearest, one folder for transformers.js"""
