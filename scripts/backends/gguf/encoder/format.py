"""GGUF files of encoders, in llama.cpp's plain types."""

from typing import Literal

from scripts.backends.format import register
from scripts.backends.gguf.format import GgufFile, GgufType


@register
class EncoderGguf(GgufFile):
    """GGUF of an encoder, one file for llama.cpp, of one of its types"""

    type: Literal[GgufType]
    like: None = None
    """only of decoders"""
    max_bytes: None = None
    """only of decoders"""
    imatrix: Literal[False] = False
    """only of decoders"""
    method: Literal["rtn"] = "rtn"
    """llama.cpp's own rounding"""
    rounds: Literal[2] = 2
    """only of decoders"""

    model = "encoder"
