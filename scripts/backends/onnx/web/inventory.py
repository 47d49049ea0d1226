"""What a folder for browsers consists of."""

from dataclasses import replace
from pathlib import Path

from scripts.backends.inventory import Inventory
from scripts.backends.onnx.inventory import inventory as inventory_of_onnx
from scripts.backends.onnx.web.names import FOLDER


def inventory(artifact: Path) -> Inventory:
    """Of the folder `artifact`; its weights are what a browser downloads."""
    size = sum(path.stat().st_size for path in (artifact / FOLDER).iterdir())
    return replace(inventory_of_onnx(artifact), weight_bytes=size)
