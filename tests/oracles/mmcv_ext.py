"""Operators that mmcv compiles for GPUs alone, as loops over their definitions."""

import math

import torch


def roi_pool(maps, rois, size, scale):
    """Highest value of each bin of each box; boxes include their last pixel."""
    _, channels, height, width = maps.shape
    out = maps.new_zeros(len(rois), channels, *size)
    for r, (image, *corners) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = (c * scale for c in (*corners[:2], corners[2] + 1, corners[3] + 1))
        for p in range(size[0]):
            top = max(math.floor(y1 + p * (y2 - y1) / size[0]), 0)
            bottom = min(math.ceil(y1 + (p + 1) * (y2 - y1) / size[0]), height)
            for q in range(size[1]):
                left = max(math.floor(x1 + q * (x2 - x1) / size[1]), 0)
                right = min(math.ceil(x1 + (q + 1) * (x2 - x1) / size[1]), width)
                if bottom > top and right > left:
                    out[r, :, p, q] = maps[int(image), :, top:bottom, left:right].amax((1, 2))
    return out


def sigmoid_focal_loss(scores, target, gamma, alpha, weight=None):
    """Lin et al. (2017), eq. 5, for each class on its own."""
    p = scores.sigmoid()
    loss = torch.empty_like(scores)
    for n, t in enumerate(target.tolist()):
        for c in range(scores.shape[1]):
            if c == t:
                value = -alpha * (1 - p[n, c]) ** gamma * p[n, c].log()
            else:
                value = -(1 - alpha) * p[n, c] ** gamma * (1 - p[n, c]).log()
            factor = 1 if weight is None or t >= len(weight) else weight[t]
            loss[n, c] = factor * value
    return loss


def softmax_focal_loss(scores, target, gamma, alpha, weight=None):
    p = scores.softmax(1)
    loss = scores.new_zeros(len(scores))
    for n, t in enumerate(target.tolist()):
        if 0 <= t < scores.shape[1]:
            factor = 1 if weight is None else weight[t]
            loss[n] = -factor * alpha * (1 - p[n, t]) ** gamma * p[n, t].log()
    return loss
