"""The records that are kept below `cache/peers/`, one JSON file for each row."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from scripts.benchmarks.peers.child import Cost
from scripts.evaluation.result import TextQuality
from scripts.strict import Strict


class Made(Strict):
    """An artefact of a peer, or ours: what it cost, and the digest of what it was made from."""

    key: str
    cost: Cost
    before: float = 0.0
    """Seconds of intermediates that several artefacts share: the capture, the float graph."""


class Measured(Strict):
    """One row: bytes of the artefact, and its quality on each kind of text."""

    status: Literal["measured"] = "measured"
    key: str
    made: Made
    bytes: int
    texts: tuple[TextQuality, ...]

    @property
    def worst(self) -> float:
        """KLD in nats on the text where it is largest."""
        return max(one.quality.kld_mean.value for one in self.texts)


class Failed(Strict):
    """A row that there is no figure of, and why."""

    status: Literal["failed"] = "failed"
    key: str
    reason: str


OUTCOME: TypeAdapter[Measured | Failed] = TypeAdapter(
    Annotated[Measured | Failed, Field(discriminator="status")]
)
