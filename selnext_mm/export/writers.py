"""A graph as an ONNX file or as torch.export's, with batch, height and width left open."""

import contextlib
import importlib.util
import io
import json
import logging
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from selnext_mm.config.build import quiet
from selnext_mm.errors import UserError
from selnext_mm.export.graphs import Graph

SUFFIXES = {'onnx': '.onnx', 'torch-export': '.pt2', 'safetensors': '.safetensors'}
NEEDS = {'onnx': ('onnx', 'onnxscript', 'onnxruntime')}
# No side of any map of it is 1, down to stride 128: the exporters would take a 1 for a constant.
EXAMPLE = (2, 3, 256, 320)
INPUT = 'images'

Run = Callable[[Tensor], list[Tensor]]


def require(target: str) -> None:
    """Raise :class:`UserError` if a package that ``target`` needs is missing."""
    missing = [name for name in NEEDS.get(target, ()) if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"--to {target} needs {', '.join(missing)}: pip install 'selnext_mm[export]'"
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
def _quiet():
    """The exporters tell their progress on stdout, in warnings and in logs."""
    with (
        quiet(logging.WARNING),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter('ignore')
        yield


def _open_batch_of_one(program: torch.export.ExportedProgram) -> None:
    """Let the program take a batch of one, in place.

    The tracer looks at the batch to choose memory formats and the kernels of convolutions, and
    notes "more than one" as a condition of the whole program. The operators that it wrote down
    are the same for one picture, which the comparison afterwards shows.
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
    # Otherwise every 1 would be taken for a constant.
    from torch.fx.experimental import _config

    with torch.no_grad(), _config.patch(backed_size_oblivious=True):
        program = torch.export.export(graph, (torch.zeros(EXAMPLE),), dynamic_shapes=shapes)
    _open_batch_of_one(program)
    return program


def write_torch_export(graph: Graph, path: Path, metadata: dict[str, str]) -> Run:
    """Write a ``.pt2`` file; returns a function that runs what the file holds.

    The metadata lies in it as ``metadata.json`` (``torch.export.load(..., extra_files=...)``).
    """
    with _quiet():
        program = _export(graph)
        torch.export.save(program, path, extra_files={'metadata.json': json.dumps(metadata)})
        module = torch.export.load(path).module()
    return lambda x: list(module(x))


def write_onnx(graph: Graph, path: Path, metadata: dict[str, str], opset: int | None = None) -> Run:
    """Write an ``.onnx`` file; returns a function that runs it in onnxruntime on the CPU."""
    import onnx
    import onnxruntime

    names = {0: 'batch', 2: 'height', 3: 'width'}
    with _quiet(), torch.no_grad():
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
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])

    def run(x: Tensor) -> list[Tensor]:
        return [torch.from_numpy(y) for y in session.run(None, {INPUT: x.numpy()})]

    return run
