"""The formats: one module each, which registers itself by defining a subclass of `Format`."""

import importlib
import pkgutil

from scripts.stage import Format


def all_formats() -> list[type[Format]]:
    """Every format in this folder, in the order of the modules' names."""
    for module in sorted(found.name for found in pkgutil.iter_modules(__path__)):
        importlib.import_module(f"{__name__}.{module}")
    return sorted(Format.registry, key=lambda kind: kind.__module__)
