"""A graph as an ONNX, OpenVINO or torch.export file, with dynamic batch, height and width."""

import contextlib
import importlib.util
import io
import json
import logging
import re
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from selnext_mm.config.build import quiet
from selnext_mm.errors import UserError
from selnext_mm.export.graphs import Graph
from selnext_mm.export.openvino import convert
from selnext_mm.runtime.sessions import InferenceSession, open_session

SUFFIXES = {
    'onnx': '.onnx',
    'openvino': '.xml',
    'torch-export': '.pt2',
    'safetensors': '.safetensors',
}
# Suffixes of files beside the main one: OpenVINO keeps the weights of an .xml in a .bin.
BESIDE = {'openvino': ('.bin',)}
NEEDS = {
    'onnx': ('onnx', 'onnxscript', 'onnxruntime'),
    'openvino': ('onnx', 'onnxscript', 'openvino'),
}
EXTRAS = {'onnx': 'export', 'openvino': 'export,openvino'}
# No feature map down to stride 128 has a side of 1: the exporters would make it a constant.
EXAMPLE = (2, 3, 256, 320)
INPUT = 'images'

Run = Callable[[Tensor], list[Tensor]]


def require(target: str) -> None:
    """Raise :class:`UserError` if a package that ``target`` needs is missing."""
    missing = [name for name in NEEDS.get(target, ()) if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"--to {target} needs {', '.join(missing)}: pip install 'selnext_mm[{EXTRAS[target]}]'"
        )
    if target == 'safetensors':
        return
    try:
        from torch.fx.experimental import _config

        new_enough = hasattr(_config, 'backed_size_oblivious')
    except ImportError:
        new_enough = False
    if not new_enough:
        raise UserError(
            f'--to {target} needs a newer torch (tested: 2.13); this is {torch.__version__}'
        )


@contextlib.contextmanager
def quiet_exporter():
    """Hide what the exporters print, warn and log about their progress."""
    with (
        quiet(logging.WARNING),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter('ignore')
        yield


def _open_batch_of_one(program: torch.export.ExportedProgram) -> None:
    """Let ``program`` accept a batch of one; changes it in place.

    The tracer uses the batch size to choose memory formats and convolution kernels, and records
    "more than one" as a condition of the program. The operators that it recorded are the same for
    one image; the check of the written file (``export.check``) confirms it.
    """
    (shape,) = (
        node.meta['val'].shape
        for node in program.graph.nodes
        if node.op == 'placeholder' and node.name == program.graph_signature.user_inputs[0]
    )
    symbol = shape[0].node.expr
    if symbol in program.range_constraints:
        allowed = program.range_constraints[symbol]
        program.range_constraints[symbol] = type(allowed)(1, allowed.upper)
    guards = getattr(program, '_guards_code', None) or []
    alone = re.compile(r'\.size\(\)\[0\]')
    sides = re.compile(r'\.size\(\)\[[1-9]\]')
    program._guards_code = [g for g in guards if not alone.search(g) or sides.search(g)]


def _export(graph: Graph) -> torch.export.ExportedProgram:
    dynamic = torch.export.Dim.DYNAMIC
    shapes = ({0: dynamic, 2: dynamic, 3: dynamic},)
    # Without this patch every size of 1 would become a constant.
    from torch.fx.experimental import _config

    with torch.no_grad(), _config.patch(backed_size_oblivious=True):
        program = torch.export.export(graph, (torch.zeros(EXAMPLE),), dynamic_shapes=shapes)
    _open_batch_of_one(program)
    return program


def write_torch_export(graph: Graph, path: Path, metadata: dict[str, str]) -> Run:
    """Write a ``.pt2`` file; returns a function that runs it.

    It contains the metadata as ``metadata.json`` (``torch.export.load(..., extra_files=...)``).
    """
    with quiet_exporter():
        program = _export(graph)
        torch.export.save(program, path, extra_files={'metadata.json': json.dumps(metadata)})
        module = torch.export.load(path).module()
    return lambda x: list(module(x))


def _save_onnx(graph: Graph, path: Path, metadata: dict[str, str], opset: int | None) -> None:
    import onnx

    names = {0: 'batch', 2: 'height', 3: 'width'}
    with quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            graph,
            (torch.zeros(EXAMPLE),),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=list(graph.outputs),
            dynamic_shapes=(names,),
            opset_version=opset,
        )
        program.model.metadata_props.update(metadata)
        program.save(path, external_data=False)
        onnx.checker.check_model(path)
    written = next(o.version for o in onnx.load(path).opset_import if o.domain in ('', 'ai.onnx'))
    if opset is not None and written != opset:
        raise UserError(
            f'--opset {opset}: the exporter of torch {torch.__version__} wrote operator set '
            f'{written} instead; give --opset {written}, or leave it out'
        )


def _run(session: InferenceSession, graph: Graph) -> Run:
    def run(x: Tensor) -> list[Tensor]:
        results = session.run({INPUT: x.numpy()})
        return [torch.from_numpy(results[name]) for name in graph.outputs]

    return run


def write_onnx(graph: Graph, path: Path, metadata: dict[str, str], opset: int | None = None) -> Run:
    """Write an ``.onnx`` file; returns a function that runs it in onnxruntime on the CPU."""
    _save_onnx(graph, path, metadata, opset)
    return _run(open_session(path), graph)


def write_openvino(graph: Graph, path: Path, metadata: dict[str, str]) -> Run:
    """Write an ``.xml`` and a ``.bin`` file; returns a function that runs them in OpenVINO."""
    with tempfile.TemporaryDirectory() as folder:
        onnx_file = Path(folder, 'graph.onnx')
        _save_onnx(graph, onnx_file, {}, None)
        convert(onnx_file, path, metadata)
    return _run(open_session(path), graph)
