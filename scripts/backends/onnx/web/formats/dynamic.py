"""ONNX INT8, dynamic, for browsers."""

from scripts.backends.format import register
from scripts.backends.onnx.formats.dynamic import OnnxDynamic
from scripts.backends.onnx.web.browser import InBrowser


@register
class WebDynamic(InBrowser, OnnxDynamic):
    """ONNX INT8 dynamic, one folder for transformers.js"""
