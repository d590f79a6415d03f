"""Open a model file in the program that runs it: onnxruntime for .onnx, OpenVINO for .xml."""

import functools
from importlib.util import find_spec
from numbers import Integral
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from selnext_mm.errors import UserError

SUFFIXES = ('.onnx', '.xml')
PACKAGES = {'.onnx': 'onnxruntime', '.xml': 'openvino'}
NEEDS_TORCH = 'a config and a checkpoint need PyTorch, which is not installed'
# Where OpenVINO's files keep our metadata.
SECTION = 'selnext_mm'


def check_count(name: str, value: Any) -> None:
    """Raise :class:`UserError` unless ``value`` is a valid count."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < 1:
        raise UserError(f'{name}={value!r}; expected 1 or more')


def check_providers(providers: list[str] | None) -> None:
    """Raise :class:`UserError` for a provider that onnxruntime would replace with the CPU's."""
    import onnxruntime

    there = onnxruntime.get_available_providers()
    names = [p if isinstance(p, str) else p[0] for p in providers or []]
    if isinstance(providers, str) or any(name not in there for name in names):
        raise UserError(
            f'providers={providers!r}; expected a list of {", ".join(there)}, which the installed '
            'onnxruntime has'
        )


class InferenceSession(Protocol):
    """``metadata`` of the file, and ``run``: named arrays in, named arrays out."""

    name: str
    metadata: dict[str, str]
    inputs: list[str]
    outputs: list[str]

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]: ...


class OnnxSession:
    """An .onnx file in onnxruntime."""

    def __init__(self, path: Path, threads: int | None, providers: list[str] | None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads:
            options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            path, options, providers=providers or ['CPUExecutionProvider']
        )
        self.name = 'onnxruntime'
        self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        self.inputs = [value.name for value in self._session.get_inputs()]
        self.outputs = [value.name for value in self._session.get_outputs()]

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(self.outputs, self._session.run(None, inputs), strict=True))


@functools.cache
def openvino_core():
    """OpenVINO's ``Core``, one for the process.

    On Linux each ``Core`` gives the thread a signal stack and frees it when it is destroyed. If two
    are not destroyed in reverse order of creation, the thread keeps the address of a freed stack.
    The next signal, such as Ctrl-C or the end of a data-loader worker, would then be a segfault.
    """
    import openvino

    return openvino.Core()


class OpenVINOSession:
    """An .xml file, with its .bin beside it, in OpenVINO on the CPU, computing in float32."""

    def __init__(self, path: Path, threads: int | None) -> None:
        # On some processors bfloat16 is the default.
        settings: dict[str, Any] = {'INFERENCE_PRECISION_HINT': 'f32'}
        if threads:
            settings['INFERENCE_NUM_THREADS'] = threads
        model = openvino_core().read_model(path)
        self.name = 'OpenVINO'
        self.metadata = {}
        if model.has_rt_info([SECTION]):
            section = model.get_rt_info([SECTION]).value
            self.metadata = {key: str(model.get_rt_info([SECTION, key]).value) for key in section}
        self._model = openvino_core().compile_model(model, 'CPU', settings)
        self.inputs = [value.get_any_name() for value in self._model.inputs]
        self.outputs = [value.get_any_name() for value in self._model.outputs]

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        results = self._model(inputs)
        return {name: results[i] for i, name in enumerate(self.outputs)}


def open_session(
    path: str | Path, threads: int | None = None, providers: list[str] | None = None
) -> InferenceSession:
    """Open a model file.

    Args:
        path: ``.onnx``, or ``.xml`` of OpenVINO.
        threads: threads per operator; by default as many as the machine has cores.
        providers: execution providers of onnxruntime; by default the CPU's.

    Raises:
        UserError: for any other kind of file, one that cannot be read, a missing package or
        provider, and a number of threads below 1.
    """
    path = Path(path).expanduser()
    package = PACKAGES.get(path.suffix)
    if package is None:
        hint = ''
        if path.suffix == '.py':
            here = find_spec('torch') is not None
            hint = '; such a file needs no config' if here else f'; {NEEDS_TORCH}'
        raise UserError(f'{path}: expected a file that ends in {" or ".join(SUFFIXES)}{hint}')
    if not path.is_file():
        raise UserError(f'{path} is not there; "selnext-mm export" writes such files')
    try:
        with open(path, 'rb'):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f'{path}: cannot be read ({reason}); check its permissions') from error
    if find_spec(package) is None:
        extra = 'runtime' if package == 'onnxruntime' else 'openvino'
        raise UserError(f"{path} needs {package}: pip install 'selnext_mm[{extra}]'")
    if path.suffix == '.xml' and not path.with_suffix('.bin').is_file():
        raise UserError(f'{path}: its weights, {path.with_suffix(".bin")}, are not there')
    if threads is not None:
        check_count('threads', threads)
    if path.suffix == '.onnx':
        check_providers(providers)
    try:
        if path.suffix == '.onnx':
            return OnnxSession(path, threads, providers)
        return OpenVINOSession(path, threads)
    # Each runtime raises its own exception classes; all of them concern the file.
    except Exception as error:
        reason = ' '.join(str(error).split())[:300]
        raise UserError(
            f'{package} cannot read {path}: {reason.rstrip(".")}; if the file is damaged, fetch or '
            'copy it again, or write it again with "selnext-mm export"'
        ) from error
