"""ONNX files in int8: onnxruntime's static quantisation, with ranges calibrated on real images.

Convolutions and linear layers compute in int8 (QDQ form: weights with a scale per output channel,
activations with a scale per tensor). Weights take 7 of the 8 bits: x86 processors without VNNI add
two products in 16 bits, which overflow with 8 bits, so the file would give other results there.
Everything else stays in float: norms, gates (``models.attention``), the last layers of the heads
(scores, boxes and masks), and what follows them.
"""

import ast
import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from torch import nn

from selnext_mm.config.build import quiet
from selnext_mm.errors import UserError

LAYERS = ('Conv', 'ConvTranspose', 'MatMul', 'Gemm')
# Last layers of mmdet's and mmpretrain's heads: their outputs are results, not activations.
LAST = ('fc_cls', 'fc_reg', 'rpn_cls', 'rpn_reg', 'retina_cls', 'retina_reg', 'conv_logits')
SCOPES = 'pkg.torch.onnx.name_scopes'  # where the exporter names the modules a node comes from


def float_modules(graph: nn.Module) -> list[str]:
    """Names of the modules of ``graph`` that stay in float: gates, norms, last layers."""
    result = []
    for name, module in graph.named_modules():
        kind = type(module)
        gate = kind.__module__.startswith('selnext_mm.models.attention')
        head = name == 'head' or name.split('.')[-1] in LAST
        norm = 'Norm' in kind.__name__ and not list(module.children())
        if gate or head or norm:
            result.append(name)
    return result


def float_nodes(model, modules: Iterable[str]) -> list[str]:
    """Names of the nodes of an ONNX ``model`` that come from one of ``modules``."""
    chosen, result = set(modules), []
    for node in model.graph.node:
        text = next((p.value for p in node.metadata_props if p.key == SCOPES), '[]')
        if chosen.intersection(ast.literal_eval(text)):
            result.append(node.name)
    return result


def quantize(
    source: Path, path: Path, feeds: Iterable[dict[str, np.ndarray]], modules: Iterable[str]
) -> int:
    """Write the ONNX file ``source`` to ``path`` in int8.

    Args:
        source: a float file that this package wrote.
        path: the new file; it keeps the metadata, with ``precision`` int8.
        feeds: model inputs from real images; the smallest and largest value of each activation
            give its range.
        modules: those that stay in float, see :func:`float_modules`.

    Returns:
        The number of layers that compute in int8.

    Raises:
        UserError: if there is no such layer.
    """
    import onnx
    from onnxruntime import quantization

    class Pictures(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(feeds)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.rest, None)

    model = onnx.load(source)
    kept = float_nodes(model, modules)
    left = [n.name for n in model.graph.node if n.op_type in LAYERS and n.name not in set(kept)]
    if not left:
        raise UserError('--int8: the model has no layer that could compute in int8')
    with quiet(logging.WARNING):  # onnxruntime.quantization logs to the root logger
        quantization.quantize_static(
            model,
            path,
            Pictures(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(LAYERS),
            nodes_to_quantize=left,
            per_channel=True,
            reduce_range=True,  # 7 bits for weights
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            extra_options=dict(MatMulConstBOnly=True),
        )
    written = onnx.load(path)
    metadata = {p.key: p.value for p in model.metadata_props} | dict(precision='int8')
    onnx.helper.set_model_props(written, metadata)
    onnx.save(written, path)
    return len(left)
