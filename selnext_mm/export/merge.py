"""The same function in fewer and faster operators: what happens to a model before it is written."""

from torch import nn


def merge(model: nn.Module, target: str = 'onnx', int8: bool = False) -> list[str]:
    """Merge linear steps of ``model`` for good, in eval mode; returns what was merged, in words.

    SELNeXt folds its layer scales: its deployed blocks call kernels of this package, and an
    exporter needs single operators. For ``target`` 'onnx' or 'openvino' it computes in 1x1
    convolutions. Its gates multiply weights where onnxruntime is faster so; OpenVINO and ``int8``
    want constant weights. Any other module with ``switch_to_deploy``, such as PATNet, is
    deployed; it is not named if its state dict keeps its keys (AttentionMobileNetV3). Other batch
    norms are left to the exporter.
    """
    scales, deployed = 0, []
    outer: tuple[str, ...] = ()
    for name, module in list(model.eval().named_modules()):
        if outer and name.startswith(outer):
            continue
        if callable(getattr(module, 'fold_layer_scale', None)):
            scales += module.fold_layer_scale()
            if target in ('onnx', 'openvino'):
                module.use_convolutions(scale_weights=target == 'onnx' and not int8)
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
