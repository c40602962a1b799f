"""Losses: one value a sample, computed from logits, and Keras's weighted mean of them."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from models.config import LossConfig


def focal(logit: Tensor, label: Tensor, config: LossConfig) -> Tensor:
    """Binary focal cross-entropy of each sample.

    ``-w_t * (1 - p_t) ** gamma * log(p_t)``, with ``p_t`` the probability given to the true class
    and ``w_t`` 1, or with `config.class_balancing` alpha for class 1 and ``1 - alpha`` for class 0
    (Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, equations 4 and 5). Label
    smoothing is Keras's: a label of 1 becomes ``1 - smoothing / 2``, one of 0 ``smoothing / 2``, in
    the cross-entropy, in ``p_t`` and in ``w_t``.

    Parameters
    ----------
    logit
        Shape (n,), of any floating dtype; half precision is computed in float32.
    label
        Shape (n,), 0 or 1, of any dtype; with a teacher what lies between, too.

    Returns
    -------
    Shape (n,), float32, or float64 for float64 logits.

    Notes
    -----
    Keras's ``binary_focal_crossentropy`` is the same function of logits up to 16 in size, and the
    two part where Keras computes from the probability. Keras clips it to [1e-7, 1 - 1e-7], so
    beyond 16.1 its loss stops growing and its gradient is 0: a sample that is wrong with certainty
    no longer teaches it. Here the loss keeps growing, by the logit, and the gradient stays. And in
    float32 a probability near 1 is rounded: Keras's loss of a wrong sample is off by 2e-5 at
    logit 6, 6e-4 at 10 and 0.16 at 15, though its gradients hold to 4e-6 up to 15.
    """
    logit = _at_least_float32(logit)
    positive = label.to(logit.dtype)
    if config.smoothing or config.teacher:
        positive = positive * (1 - config.smoothing) + 0.5 * config.smoothing
        loss = -(positive * logsigmoid(logit) + (1 - positive) * logsigmoid(-logit))
        if config.gamma:  # for gamma < 1 a power of 0, to which 1 - p_t may underflow, has no slope
            rest = positive * torch.sigmoid(-logit) + (1 - positive) * torch.sigmoid(logit)
            loss = rest.clamp(min=torch.finfo(rest.dtype).tiny) ** config.gamma * loss
    else:
        margin = (2 * positive - 1) * logit  # the logit of p_t
        loss = -logsigmoid(margin)
        # A power of 1 - p_t has an infinite gradient at p_t = 1 for gamma < 1, and p_t rounds to 1
        # from a logit of 17 in float32; the exponential of its logarithm has neither fault.
        if config.gamma:
            loss = torch.exp(config.gamma * logsigmoid(-margin)) * loss
    if config.class_balancing:
        loss = loss * (config.alpha * positive + (1 - config.alpha) * (1 - positive))
    return loss


def generalised_cross_entropy(logit: Tensor, label: Tensor, config: LossConfig) -> Tensor:
    """Generalised cross-entropy of each sample, for noisy labels.

    ``(1 - p_t ** q) / q``: a sample that is confidently contradicted teaches less than with
    cross-entropy, since its label is likely wrong (Zhang and Sabuncu, Generalized Cross Entropy
    Loss for Training Deep Neural Networks with Noisy Labels, NeurIPS 2018, equation 6). With
    smoothing it is the mean of the losses of both labels, weighted as the label is spread.

    Parameters
    ----------
    logit, label
        As for `focal`.

    Returns
    -------
    Shape (n,), float32, or float64 for float64 logits.
    """
    logit = _at_least_float32(logit)
    positive = label.to(logit.dtype) * (1 - config.smoothing) + 0.5 * config.smoothing
    of_one, of_zero = (-torch.expm1(config.q * logsigmoid(z)) / config.q for z in (logit, -logit))
    return positive * of_one + (1 - positive) * of_zero


def _at_least_float32(logit: Tensor) -> Tensor:
    return logit.float() if logit.dtype in (torch.float16, torch.bfloat16) else logit


def weighted_mean(per_sample: Tensor, weight: Tensor, batch_size: int) -> Tensor:
    """Reduce as Keras's ``sum_over_batch_size`` does with sample weights.

    The weighted sum is divided by the batch size, not by the sum of the weights: halving every
    weight halves the loss.

    Parameters
    ----------
    per_sample, weight
        Shape (n,).
    batch_size
        Samples of the step over all workers, of which these are n.

    Returns
    -------
    A scalar.
    """
    return (per_sample * weight).sum() / batch_size


Loss = Callable[[Tensor, Tensor, LossConfig], Tensor]

LOSSES: dict[str, Loss] = {"focal": focal, "gce": generalised_cross_entropy}
"""Losses by name: (logit, label, config), each of n samples, to a loss of shape (n,)."""
