"""What a recipe may ask for: the base class of the formats, and the list of all that there are."""

import contextlib
import importlib
import itertools
import pkgutil
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Literal, TypeVar, get_args

from pydantic import ValidationError

from scripts.backends.table import BACKENDS
from scripts.forecast import Inputs
from scripts.stage import Stage

IN_NO_KEY = "it is the interface of formats; the work is in their own modules"

_SELECTING = ("format", "bits", "method")
_registered: list[type["Format"]] = []
Kind = TypeVar("Kind", bound="type[Format]")


def register(kind: Kind) -> Kind:
    """Decorate a class of `Format` that recipes may name."""
    _registered.append(kind)
    return kind


ModelKind = Literal["decoder", "encoder"]
"""A decoder writes text, an encoder turns sentences into embeddings."""


def all_formats(model: ModelKind = "decoder") -> list[type["Format"]]:
    """Every format of every backend for models of a kind, in the order of the modules' names."""
    for backend in BACKENDS.values():
        for name in backend.formats:
            module = importlib.import_module(name)
            for inner in pkgutil.iter_modules(getattr(module, "__path__", ())):
                importlib.import_module(f"{name}.{inner.name}")
    own = (kind for kind in _registered if kind.model == model)
    return sorted(own, key=lambda kind: kind.__module__)


class Format(Stage):
    """A kind of artefact that a recipe may ask for; `register` makes it known.

    Those of the fields `format`, `bits` and `method` that have no default select the class; the
    rest are its options, with their defaults. `needs` names the nodes of the graph
    that it is made from: `base`, `calibration`, `capture`, `gradients`, `graph` or `f16`; where
    that depends on the options, `needed` is overridden. `model` is the kind of model that it is of.
    """

    backend: ClassVar[str]
    model: ClassVar[ModelKind] = "decoder"
    needs: ClassVar[tuple[str, ...]] = ("base",)

    @classmethod
    def selector(cls) -> dict[str, tuple[object, ...]]:
        """The keys in a recipe that choose this class, with the values that do so."""
        fields = cls.model_fields
        return {
            name: get_args(fields[name].annotation)
            for name in _SELECTING
            if name in fields and fields[name].is_required()
        }

    @classmethod
    def selections(cls) -> list[dict[str, object]]:
        """Each way to choose this class, as key and value: one for each number of bits."""
        selector = cls.selector()
        return [
            dict(zip(selector, values, strict=True))
            for values in itertools.product(*selector.values())
        ]

    @classmethod
    def unsupported(cls, entry: Mapping[str, object]) -> str:
        """Why an artefact's line asks for what formats alike have, and this one does not; empty
        where it does not."""
        return ""

    def needed(self) -> tuple[str, ...]:
        """The nodes of the graph that this one is made from."""
        return self.needs

    def alternatives(self, inputs: Inputs, target: Path, memory: int) -> list[str]:
        """The other formats of the same kind, with their defaults, that do fit."""
        texts = []
        for other in self.others():
            forecast = other.forecast(inputs, target)
            if forecast is not None and forecast.memory <= memory:
                chosen = ", ".join(f"{key}: {value}" for key, value in other.choice().items())
                texts.append(f"{{{chosen}}} needs about {forecast.memory / 2**30:.1f} GiB")
        return texts

    def others(self) -> Iterator["Format"]:
        """Those of the same format and bits by each method, with the defaults of the rest."""
        mine = self.choice()
        for kind in all_formats(self.model):
            for options in kind.selections():
                if any(options.get(key) != mine.get(key) for key in ("format", "bits")):
                    continue
                with contextlib.suppress(ValidationError):
                    other = kind.model_validate(options)
                    if other.choice() != mine:
                        yield other

    def choice(self) -> dict[str, object]:
        """The keys of a recipe that choose this one among its kind."""
        return {name: getattr(self, name) for name in _SELECTING if hasattr(self, name)}

    def describe(self) -> str:
        """One line for lists of tasks: the label."""
        return self.label()

    def words(self) -> dict[str, str]:
        """What the words of the label mean, for people who have never quantised a model."""
        from scripts.methods.words import WORDS

        return {word: WORDS[word] for word in re.findall(r"\w+", self.label()) if word in WORDS}

    def label(self) -> str:
        """A name for tables and charts, such as `INT8 static (ONNX)`."""
        raise NotImplementedError
