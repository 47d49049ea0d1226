"""The option `tune` of the formats whose scales can be learnt; see scripts/tuning."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Tune(BaseModel):
    """Learn the scales and the norms from the FP16 base, on the calibration's text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: Annotated[int, Field(ge=512)] = 30720
    """learnt from in all, with repetition"""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 0.0003
    """the largest; it rises, then falls"""
    batch: Annotated[int, Field(ge=1)] = 2
    """windows at a step"""
