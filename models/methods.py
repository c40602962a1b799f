"""Training objectives by name: what is made of a batch's losses, exactly over any workers.

A method adds up what it needs over the whole global batch with `torch.distributed`, and gives its
worker's part of the objective: the workers' parts add up to it, and so do their gradients. Its
state is in its buffers, so that a checkpoint has it.
"""

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from typing_extensions import override

from models.batch import Batch
from models.config import MethodConfig
from models.losses import weighted_mean

STRATA = tuple((gender, label) for gender in (-1, 1) for label in (0, 1))
MEMORY = 0.9
"""The share of the running mean of the gap that one batch leaves as it was."""


class Method(nn.Module):
    """What the losses of a batch become; this one is empirical risk minimisation.

    Its objective is the weighted mean of the losses, as Keras reduces them.
    """

    def __init__(self, config: MethodConfig) -> None:
        super().__init__()
        self.config = config

    @override
    def forward(self, per_sample: Tensor, logit: Tensor, batch: Batch) -> Tensor:
        """Give this worker's part of the objective.

        Parameters
        ----------
        per_sample, logit
            Losses and logits of this worker's rows, shape (m,).
        batch
            The rows; those of gender 0 and weight 0 count nowhere.

        Returns
        -------
        A scalar.
        """
        return weighted_mean(per_sample, batch.weights, batch.size)


class GroupDRO(Method):
    """Online group distributionally robust optimisation over gender × class.

    Minimises ``sum_g q_g * loss_g``, where the q of a group grows with ``exp(step * loss_g)``: the
    groups that are served worst count most (Sagawa et al., Distributionally Robust Neural Networks
    for Group Shifts, ICLR 2020, algorithm 1). The loss of a group is the weighted mean over its
    rows in the global batch, so that weights by group do nothing here: q is what weighs groups, and
    a group whose losses were scaled up would take all of it, however well it is served. A group
    without rows keeps its share and is left out.
    """

    q: Tensor

    def __init__(self, config: MethodConfig) -> None:
        super().__init__(config)
        self.register_buffer("q", torch.full((len(STRATA),), 1 / len(STRATA)))

    @override
    def forward(self, per_sample: Tensor, logit: Tensor, batch: Batch) -> Tensor:
        """Give this worker's part of the objective, having moved q."""
        of = [(batch.genders == gender) & (batch.labels == label) for gender, label in STRATA]
        member = torch.stack(of).to(per_sample.dtype)
        sums = member @ (per_sample * batch.weights)
        weights = member @ batch.weights.to(per_sample.dtype)
        total, weight = _over_workers(torch.stack([sums.detach(), weights]))
        weight = torch.where(weight > 0, weight, 1)
        mean = total / weight
        raised = self.q * torch.exp(self.config.step * mean)  # an absent group's mean is 0
        self.q.copy_(raised / raised.sum())
        part: Tensor = (self.q.clone() / weight * sums).sum()
        return part


class GapPenalty(Method):
    """The weighted mean of the losses, and a penalty on the gap between women and men.

    The accuracy of a gender is relaxed to the mean probability that its rows give to their true
    class, as Padala and Gujar do (FNNC: Achieving Fairness through Neural Networks, IJCAI 2020),
    and ``penalty * |women - men|`` of that is added.

    Of a few dozen rows the gap is mostly noise, and the mean of its absolute value is far from the
    absolute value of its mean: penalised batch by batch, networks learn to make batches alike. So
    the sign comes from a running mean over batches, and from the batch the gradient alone, which
    is then, on average, that of the whole gap.
    """

    gap: Tensor

    def __init__(self, config: MethodConfig) -> None:
        super().__init__(config)
        self.register_buffer("gap", torch.zeros(()))

    @override
    def forward(self, per_sample: Tensor, logit: Tensor, batch: Batch) -> Tensor:
        """Give this worker's part of the objective, having moved the running mean of the gap."""
        truth = torch.sigmoid((2 * batch.labels - 1) * logit)
        member = torch.stack([batch.genders == -1, batch.genders == 1]).to(truth.dtype)
        sums = member @ truth
        total, count = _over_workers(torch.stack([sums.detach(), member.sum(1)]))
        means = total / count.clamp(min=1)
        # A batch of one gender says nothing of the gap.
        both = (count > 0).all()
        moved = MEMORY * self.gap + (1 - MEMORY) * (means[0] - means[1])
        self.gap.copy_(torch.where(both, moved, self.gap))
        signs = self.gap.sign() * torch.stack([both, -1.0 * both])
        part: Tensor = (signs / count.clamp(min=1) * sums).sum()
        return weighted_mean(per_sample, batch.weights, batch.size) + self.config.penalty * part


METHODS: dict[str, Callable[[MethodConfig], Method]] = {
    "erm": Method,
    "group_dro": GroupDRO,
    "gap_penalty": GapPenalty,
}
"""Makers of methods by name."""


def _over_workers(sums: Tensor) -> Tensor:
    """Add up over workers what each has of the global batch."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(sums)
    return sums
