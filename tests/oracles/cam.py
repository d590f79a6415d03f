"""Ablation-CAM and Grad-CAM from their equations, running the whole model every time.

Both return the maps of all classes (classes, h, w) of one image (1, 3, H, W).
"""

import torch


def _scaled(weights, maps):
    heat = (weights[:, :, None, None] * maps).sum(1).clamp_min(0)
    heat = heat - heat.amin((1, 2), keepdim=True)
    return heat / (1e-7 + heat.amax((1, 2), keepdim=True))


def ablation_cam(model, layer, x):
    """w_k = (y - y_k) / |y|, y_k after channel k of ``layer`` is zero."""
    maps, ablated = [], None

    def hook(module, args, output):
        if ablated is None:
            maps.append(output[0])
            return output
        changed = output.clone()
        changed[0, ablated] = 0
        return changed

    handle = layer.register_forward_hook(hook)
    with torch.no_grad():
        y = model(x, mode='tensor')[0]
        weights = torch.zeros(len(y), len(maps[0]))
        for k in range(len(maps[0])):
            ablated = k
            weights[:, k] = (y - model(x, mode='tensor')[0]) / y.abs()
    handle.remove()
    return _scaled(weights, maps[0])


def grad_cam(model, layer, x):
    """w_k: mean over the positions of the score's gradient in channel k."""
    maps = []
    handle = layer.register_forward_hook(lambda _, args, output: maps.append(output))
    y = model(x, mode='tensor')[0]
    handle.remove()
    gradients = [torch.autograd.grad(s, maps[0], retain_graph=True)[0][0] for s in y]
    return _scaled(torch.stack(gradients).mean((2, 3)), maps[0][0].detach())
