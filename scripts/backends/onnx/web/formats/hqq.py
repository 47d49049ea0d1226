"""ONNX, weights only, by HQQ, for browsers."""

from scripts.backends.format import register
from scripts.backends.onnx.formats.hqq import OnnxHqq
from scripts.backends.onnx.web.browser import InBrowser


@register
class WebHqq(InBrowser, OnnxHqq):
    """ONNX weight-only by HQQ, one folder for transformers.js"""
