"""Which network a trial trains."""

from pydantic import Field

from orchestrator.strict import Strict


class ModelConfig(Strict):
    """A network by name, and what it is made with."""

    name: str = "cnn"
    """A key of `models.MODELS`."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """The head's dropout."""
    weights: str | None = None
    """Backbone weights: a file, or null for torchvision's own (ignored by the CNN)."""
