"""ONNX INT8, static, for browsers."""

from scripts.backends.format import register
from scripts.backends.onnx.formats.static import OnnxStatic
from scripts.backends.onnx.web.browser import InBrowser


@register
class WebStatic(InBrowser, OnnxStatic):
    """ONNX INT8 static (calibrated QDQ), one folder for transformers.js"""
