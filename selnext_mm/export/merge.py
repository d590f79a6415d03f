"""Fewer operators for the same function: what is linear is merged before a graph is written."""

from torch import nn


def merge(model: nn.Module) -> list[str]:
    """Merge in ``model``, for good and in eval mode, what is linear; says what was merged.

    SELNeXt folds its layer scales: the fused blocks of its deployed form are calls into this
    package, and an exporter writes down single operators. Any other module that has
    ``switch_to_deploy``, PATNet for one, follows its own rules; one whose tensors stay as they
    were (AttentionMobileNetV3) is not named. Other batch norms are left to the exporter.
    """
    scales, deployed = 0, []
    outer: tuple[str, ...] = ()
    for name, module in list(model.eval().named_modules()):
        if outer and name.startswith(outer):
            continue
        if callable(getattr(module, 'fold_layer_scale', None)):
            scales += module.fold_layer_scale()
        elif callable(getattr(module, 'switch_to_deploy', None)):
            before = list(module.state_dict())
            module.switch_to_deploy()
            if list(module.state_dict()) != before:
                deployed.append(name)
        else:
            continue
        outer += (f'{name}.' if name else '',)
    done = [f'{scales} layer scales merged'] if scales else []
    return done + ([f'{", ".join(deployed)} deployed'] if deployed else [])
