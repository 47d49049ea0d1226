"""A stage: typed options and one function from input paths to an output path.

A stage knows nothing of the build graph, of doit or of the store. Its module stays
light to import (no torch, no onnxruntime at the top): the graph is drawn without them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from scripts.forecast import Forecast, Inputs

Runtime = Literal["torch", "onnxruntime", "llama.cpp"]


class Stage(BaseModel):
    """One step of a build. The fields are its options; `run` does the work.

    `packages` names the distributions whose versions the output's bytes depend on;
    `cpu_features` is true where they depend on the processor's instruction set too; where that
    depends on the options, `depends_on_cpu` is overridden.
    `reproducible` is false where the output differs from run to run, as timings do: it is
    then kept in no store, and nothing else runs beside it. `linkable` is true where a file may
    have hard links: onnx and onnx_ir refuse external data that has.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    packages: ClassVar[tuple[str, ...]] = ()
    cpu_features: ClassVar[bool] = False
    reproducible: ClassVar[bool] = True
    linkable: ClassVar[bool] = False

    def depends_on_cpu(self) -> bool:
        """Whether the output's bytes depend on the processor's instruction set."""
        return self.cpu_features

    def describe(self) -> str:
        """One line for lists of tasks: the first of the class's docstring."""
        return (type(self).__doc__ or "").strip().partition("\n")[0]

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Read the named `inputs`, write `out`: a folder that exists and is empty, or,
        where the path has a suffix such as `.gguf`, a file that does not exist yet.

        Raises a QuantmakeError with a text for people where the work can't be done.
        """
        raise NotImplementedError

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Look at what `run` wrote before it is committed; raise QuantmakeError if it is broken."""

    def forecast(self, inputs: Inputs, target: Path) -> Forecast | None:
        """What `run` will need, from the forecasts of its inputs; None where it can't say yet.

        Neither the inputs nor `target` need to be there. It takes no time.
        """
        return None

    def alternatives(self, inputs: Inputs, target: Path, memory: int) -> list[str]:
        """What may be done in its place within `memory` bytes, for people."""
        return []

    def is_settled(self, target: Path) -> bool:
        """Whether what was made may be kept as the last word; a record of a failure may not."""
        return True


class Format(Stage):
    """A kind of artefact that a recipe may ask for. A subclass registers itself.

    The fields with one literal value and no default (`format`, `bits`, `method`) select the
    class; the rest are its options, with their defaults. `needs` names the nodes of the graph
    that it is made from: `base`, `calibration`, `capture`, `curvature`, `graph` or `f16`; where
    that depends on the options, `needed` is overridden.
    """

    registry: ClassVar[list[type["Format"]]] = []
    runtime: ClassVar[Runtime]
    needs: ClassVar[tuple[str, ...]] = ("base",)
    suffix: ClassVar[str] = ""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "runtime" in vars(cls):
            Format.registry.append(cls)

    @classmethod
    def selector(cls) -> dict[str, object]:
        """The keys and values in a recipe that choose this class, in the order of its fields."""
        return {
            name: get_args(field.annotation)[0]
            for name, field in cls.model_fields.items()
            if field.is_required() and len(get_args(field.annotation)) == 1
        }

    def needed(self) -> tuple[str, ...]:
        """The nodes of the graph that this one is made from."""
        return self.needs

    def alternatives(self, inputs: Inputs, target: Path, memory: int) -> list[str]:
        """The other methods of the same format and bits, with their defaults, that do fit."""
        found = []
        for other in self._others():
            said = other.forecast(inputs, target)
            if said is not None and said.memory <= memory:
                chosen = ", ".join(f"{key}: {value}" for key, value in other.choice().items())
                found.append(f"{{{chosen}}} needs about {said.memory / 2**30:.1f} GiB")
        return found

    def _others(self) -> Iterator["Format"]:
        mine = self.selector()
        for kind in Format.registry:
            selector = kind.selector()
            if kind is type(self) or any(
                selector.get(k) != mine.get(k) for k in ("format", "bits")
            ):
                continue
            try:
                yield kind.model_validate(selector)
            except ValidationError:
                continue

    def choice(self) -> dict[str, object]:
        """The keys of a recipe that choose this one among its kind."""
        return self.selector()

    def describe(self) -> str:
        """One line for lists of tasks: the label."""
        return self.label()

    def label(self) -> str:
        """A name for tables and charts, such as `INT8 static (ONNX)`."""
        raise NotImplementedError
