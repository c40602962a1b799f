"""The base of every part of the configuration."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A frozen part of the configuration: unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
