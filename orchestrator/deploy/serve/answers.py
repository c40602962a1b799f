"""What a request for predictions is answered."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from orchestrator.deploy.labels import probabilities
from orchestrator.deploy.serve.uploads import Pictures
from orchestrator.judging.fairness import WOMAN, predict_labels
from orchestrator.judging.thresholds import Thresholds


class Prediction(BaseModel):
    """What the network says of a picture."""

    filename: str
    probability: float = Field(description="of class 1")
    class_: int = Field(alias="class", description="0 or 1, as the data set has it")
    label: int = Field(description="-1 for class 0, 1 for class 1")
    threshold: float = Field(description="what the probability has to exceed for class 1")


class Answer(BaseModel):
    """What the network says of all pictures of a request, in their order."""

    run: str
    trial: str
    predictions: list[Prediction]


class Problem(BaseModel):
    """Why a request is refused."""

    error: str


@dataclass(frozen=True)
class Served:
    """What is served."""

    run: str
    """As it was named on the command line."""
    trial_id: str
    image_size: int
    """Pixels a side that the network sees."""
    threshold: float
    """What applies to a picture."""
    by_gender: Thresholds | None = None
    """What applies instead to one that comes with a gender."""

    def answer(self, pictures: Pictures, logit: NDArray[np.float32]) -> Answer:
        """Label pictures by their logits, shape (n,)."""
        class_ = predict_labels(logit, self.threshold)
        threshold = np.full(len(logit), self.threshold)
        if self.by_gender is not None:
            told = np.array([gender is not None for gender in pictures.gender])
            gender = np.array([gender or WOMAN for gender in pictures.gender])
            class_ = np.where(told, self.by_gender.labels(logit, gender), class_)
            own = np.where(gender == WOMAN, *self.by_gender)
            threshold = np.where(told, own, threshold)
        rows = zip(
            pictures.filename,
            probabilities(logit).tolist(),
            class_.tolist(),
            (2 * class_ - 1).tolist(),
            threshold.tolist(),
            strict=True,
        )
        fields = ("filename", "probability", "class", "label", "threshold")
        return Answer(
            run=self.run,
            trial=self.trial_id,
            predictions=[Prediction(**dict(zip(fields, row, strict=True))) for row in rows],
        )
