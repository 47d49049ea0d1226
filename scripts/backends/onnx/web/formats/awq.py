"""ONNX, weights only, by AWQ, for browsers."""

from scripts.backends.format import register
from scripts.backends.onnx.formats.awq import OnnxAwq
from scripts.backends.onnx.web.browser import InBrowser


@register
class WebAwq(InBrowser, OnnxAwq):
    """ONNX weight-only by AWQ, one folder for transformers.js"""
