"""Run stages, each in a fork of one process: `python tests/forked_stages.py ACTION.json …`.

That process has loaded packages of others that take seconds, and nothing of this project, so what a
stage loads of it is seen as in a process of its own. The exit code says how many stages failed.
"""

import importlib
import os
import sys

LARGE = ("numba", "torch", "transformers.models.llama.modeling_llama", "onnx_ir", "onnxruntime")


def run(action: str) -> bool:
    """Whether the stage of an action file ran to its end."""
    child = os.fork()
    if child == 0:
        from scripts.exec import main

        code = main([action])
        sys.stdout.flush()
        os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


if __name__ == "__main__":
    for name in LARGE:
        importlib.import_module(name)
    failed = [action for action in sys.argv[1:] if not run(action)]
    print("failed:", *failed, file=sys.stderr)
    sys.exit(len(failed))
