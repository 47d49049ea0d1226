"""The gate before quantising: mlx-lm computes the base's own folder, and has to predict what
transformers does with it. Where MLX is not installed, nothing is compared."""

from pathlib import Path

from scripts.backends.float_gate import disagreement
from scripts.backends.table import BACKENDS
from scripts.errors import QuantmakeError
from scripts.extras import command_for, missing

IN_NO_KEY = "it looks at what is quantised; it makes no bytes"

_BACKEND = "mlx"


def refuse_other_model(base: Path) -> None:
    """Raise QuantmakeError where mlx-lm does not predict what the base does."""
    if is_absent():
        return
    if reason := disagreement(_BACKEND, base, base.resolve()):
        raise QuantmakeError(reason)


def is_absent() -> bool:
    """Whether MLX is not installed, which is said."""
    packages = BACKENDS[_BACKEND].packages
    if absent := bool(missing(packages)):
        print(
            "MLX is not installed, so it was not compared with the base; "
            f"{command_for(packages)} installs it",
            flush=True,
        )
    return absent
