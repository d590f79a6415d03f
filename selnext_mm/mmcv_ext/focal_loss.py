"""Focal losses (Lin et al., 2017, eq. 5) over a sigmoid or a softmax, and their gradients.

-alpha (1 - p)^gamma log p for the target class; over a sigmoid also
-(1 - alpha) p^gamma log(1 - p) for each of the others. A target outside the classes is background.
"""

import torch
from torch import Tensor

from selnext_mm.mmcv_ext.numeric import exact, working

TINY = torch.finfo(torch.float32).tiny  # the smallest argument of a logarithm


def logarithm(p: Tensor) -> Tensor:
    return p.clamp(min=TINY).log()


def is_class(target: Tensor, classes: int) -> Tensor:
    return (target >= 0) & (target < classes)


def class_weights(weight: Tensor, target: Tensor, like: Tensor) -> Tensor:
    """``weight`` (C,) of each target, 1 for background; 1 for all if ``weight`` is empty: (N,)."""
    ones = torch.ones_like(target, dtype=like.dtype)
    if not weight.numel():
        return ones
    known = is_class(target, len(weight))
    return torch.where(known, weight.to(like)[target.clamp(0, len(weight) - 1)], ones)


@exact
def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write the loss of each score into ``output`` (N, C).

    Args:
        input: scores (N, C) before the sigmoid.
        target: classes (N,), int64.
        weight: factor of the loss for each target class (C,), or empty.
    """
    scores = working(input)
    p = scores.sigmoid()
    hit = target[:, None] == torch.arange(p.shape[1], device=p.device)
    positive = -alpha * (1 - p).pow(gamma) * logarithm(p)
    negative = (alpha - 1) * p.pow(gamma) * logarithm(1 - p)
    output.copy_(torch.where(hit, positive, negative) * class_weights(weight, target, p)[:, None])


@exact
def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the derivative of each loss with respect to its score to ``grad_input`` (N, C)."""
    scores = working(input)
    p = scores.sigmoid()
    hit = target[:, None] == torch.arange(p.shape[1], device=p.device)
    positive = -alpha * (1 - p).pow(gamma) * (1 - p - gamma * p * logarithm(p))
    negative = (alpha - 1) * p.pow(gamma) * (gamma * (1 - p) * logarithm(1 - p) - p)
    factor = class_weights(weight, target, p)[:, None]
    grad_input.copy_(torch.where(hit, positive, negative) * factor)


def target_share(softmax: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The softmax of the target class, and whether the target is a class: (N,) each."""
    index = target.clamp(0, softmax.shape[1] - 1)
    return softmax.gather(1, index[:, None])[:, 0], is_class(target, softmax.shape[1])


@exact
def softmax_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write the loss of each row into ``output`` (N,), 0 for background.

    Args:
        input: softmax (N, C).
        target: classes (N,), int64.
        weight: factor of the loss for each target class (C,), or empty.
    """
    p, known = target_share(working(input), target)
    loss = -alpha * (1 - p).pow(gamma) * logarithm(p) * class_weights(weight, target, p)
    output.copy_(torch.where(known, loss, 0))


@exact
def softmax_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Write each row's derivatives of the loss with respect to its scores to ``grad_input`` (N, C).

    Args:
        buff: (N,); gets p dL/dp, with which the derivative is buff (1[c is target] - softmax).
    """
    softmax = working(input)
    p, known = target_share(softmax, target)
    rest = 1 - p
    slope = gamma * rest.pow(gamma - 1) * p * logarithm(p) - rest.pow(gamma)
    slope = torch.where(known, alpha * slope * class_weights(weight, target, p), 0)
    buff.copy_(slope)
    hit = target[:, None] == torch.arange(softmax.shape[1], device=softmax.device)
    grad_input.copy_(slope[:, None] * (hit.to(softmax) - softmax))
