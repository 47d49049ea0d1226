"""A stage: typed options and one function from input paths to an output path.

A stage knows nothing of the build graph, of doit or of the store. Its module stays
light to import (no torch, no onnxruntime at the top): the graph is drawn without them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict

from scripts.forecast import Forecast, Inputs

if TYPE_CHECKING:
    from scripts.footprints import Footprint

IN_NO_KEY = "it is the interface of stages; the work is in their own modules"


class Stage(BaseModel):
    """One step of a build. The fields are its options; `run` does the work.

    The versions of the distributions that its modules import are part of the key; `packages` names
    those that these load in turn, or that run in a process of its own; where that depends on the
    options, `uses` is overridden. `canonical` is true where the floats come out the same on every
    processor; a stage whose figures may differ computes as fast as the libraries can.
    `reproducible` is false where the output differs from run to run, as timings do: it is
    then kept in no store, and nothing else runs beside it. `linkable` is true where a file may
    have hard links: onnx and onnx_ir refuse external data that has. `suffix` is that of the file
    which it writes, such as `.gguf`; a stage without one writes a folder. `footprint` is its
    row in the table of what stages take of the machine. `shared` is false where machines may not
    take the result from each other: code that is run, or what is pinned elsewhere.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    packages: ClassVar[tuple[str, ...]] = ()
    canonical: ClassVar[bool] = True
    reproducible: ClassVar[bool] = True
    linkable: ClassVar[bool] = False
    suffix: ClassVar[str] = ""
    shared: ClassVar[bool] = True
    footprint: ClassVar["Footprint | None"] = None

    def uses(self) -> tuple[str, ...]:
        """Distributions that count beside those that the modules import."""
        return self.packages

    def reaches(self) -> tuple[str, ...]:
        """Modules that `run` loads by their names, or in a process of its own: the scan of its
        imports does not see these, and they are part of the key."""
        return ()

    def describe(self) -> str:
        """One line for lists of tasks: the first of the class's docstring."""
        return (type(self).__doc__ or "").strip().partition("\n")[0]

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Read the named `inputs`, write `out`: a folder that exists and is empty, or,
        where the stage has a `suffix`, a file that does not exist yet.

        Raises a QuantmakeError with a text for people where the work can't be done.
        """
        raise NotImplementedError

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Look at what `run` wrote before it is committed; raise QuantmakeError if it is broken."""

    def forecast(self, inputs: Inputs, target: Path) -> Forecast | None:
        """What `run` will need, from the forecasts of its inputs; None where it can't say yet.

        Neither the inputs nor `target` need to be there. It takes no time.
        """
        footprint = self.takes()
        return None if footprint is None else footprint.for_model(inputs)

    def takes(self) -> "Footprint | None":
        """What `run` takes for a model of any size; overridden where it depends on the options."""
        return self.footprint

    def alternatives(self, inputs: Inputs, target: Path, memory: int) -> list[str]:
        """What may be done in its place within `memory` bytes, for people."""
        footprint = self.takes()
        return [footprint.instead] if footprint and footprint.instead else []

    def refusal(self, inputs: Inputs) -> str:
        """Why `run` can't be done with this model as the recipe has it, from the forecasts of the
        inputs, for people; empty where it can, or where nobody can say yet. It takes no time."""
        return ""

    def without(self, missing: Mapping[str, str]) -> "Stage | None":
        """What does the work without some inputs, which could not be made, by name with the reason;
        None where it can't be done without them."""
        return None

    def difference(self, before: Path, after: Path) -> str:
        """Where two results differ, in its own terms, such as which tensor by how much; for people.
        Empty where it can't say."""
        return ""

    def is_settled(self, target: Path) -> bool:
        """Whether what was made may be kept as the last word; a record of a failure may not."""
        return True
