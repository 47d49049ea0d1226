"""Run llama.cpp's converter with a pre-tokenizer's name that it can't find out by itself.

`python driver.py CONVERTER PRE ARGUMENTS…` is run by `f16.py`, in a process of its own.
"""

import runpy
import sys
from pathlib import Path


def main() -> None:
    """Replace the look-up by hash, which knows only published tokenizers, then convert."""
    converter, pre, *arguments = sys.argv[1:]
    sys.path.insert(0, str(Path(converter).parent))
    sys.path.insert(1, str(Path(converter).parent / "gguf-py"))
    if pre:
        base = __import__("conversion.base", fromlist=["TextModel"])
        base.TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
    sys.argv = [converter, *arguments]
    runpy.run_path(converter, run_name="__main__")


if __name__ == "__main__":
    main()
