"""Run llama.cpp's converter with what it can't find out or should not do by itself.

`python -P driver.py CONVERTER PRE TRUST ARGUMENTS…` is run by `f16.py`, in a process of its own:
PRE is the name of the pre-tokenizer or empty, TRUST is `trust` or empty.
"""

import importlib
import runpy
import sys
from pathlib import Path
from typing import Any


def _name_pre_tokenizer(pre: str) -> None:
    """Replace the look-up by hash, which knows only published tokenizers."""
    base = importlib.import_module("conversion.base")
    base.TextModel.get_vocab_base_pre = lambda self, tokenizer: pre


def _run_no_code_of_the_model() -> None:
    """The converter asks transformers to trust every model; do not."""
    for name in ("tokenization_auto", "configuration_auto"):
        module: Any = importlib.import_module(f"transformers.models.auto.{name}")
        resolve = module.resolve_trust_remote_code

        def untrusting(trust: Any, *arguments: Any, _resolve: Any = resolve, **more: Any) -> Any:
            return _resolve(False, *arguments, **more)

        module.resolve_trust_remote_code = untrusting


def _leave_drafts_out() -> None:
    """Layers that predict several tokens ahead (MTP) serve speculative decoding alone. transformers
    does not load them, so nothing here measures or calibrates them; and the converter wants those
    of Qwen 3.5 even of folders that have none."""
    importlib.import_module("conversion.base").ModelBase.no_mtp = True


def _say_how_much_neox_turns() -> None:
    """The converter asks transformers for GPT-NeoX's configuration, and looks in it for the word of
    version 4."""
    kind: Any = importlib.import_module("transformers").GPTNeoXConfig
    plain = kind.to_dict

    def to_dict(config: Any) -> dict[str, Any]:
        made: dict[str, Any] = plain(config)
        rope = made.get("rope_parameters") or {}
        return {"rotary_pct": rope.get("partial_rotary_factor", 0.25), **made}

    kind.to_dict = to_dict


def main() -> None:
    """Prepare the converter, then run it as if it had been started itself."""
    sys.path.append(str(Path(__file__).parents[3]))
    importlib.import_module("scripts.lean").start_lean()
    converter, pre, trust, *arguments = sys.argv[1:]
    # Its own gguf-py comes before the installed gguf, which may be of another version.
    sys.path[:0] = [str(Path(converter).parent), str(Path(converter).parent / "gguf-py")]
    if pre:
        _name_pre_tokenizer(pre)
    if not trust:
        _run_no_code_of_the_model()
    _leave_drafts_out()
    _say_how_much_neox_turns()
    sys.argv = [converter, *arguments]
    runpy.run_path(converter, run_name="__main__")


if __name__ == "__main__":
    main()
