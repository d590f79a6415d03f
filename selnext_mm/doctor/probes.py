"""Probes of the environment, run in separate Python processes by ``run.run_probes``.

``python probes.py NAME ...`` runs them up to the first one that fails and writes what they learn to
standard output, as JSON (``[name, facts]``) in lines after :data:`MARK`. A probe is a generator:
facts that it yields before a broken binary ends its process are kept. Nothing but the standard
library is imported at module level, and the package itself only where a probe asks for it.

``except Exception`` is used where a package is imported or one of its operators runs: a broken
binary or a wrong mixture of versions may raise anything there, and the probe reports it.
"""

import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

MARK = 'selnext-mm-probe:'
Facts = dict[str, Any]
MAX_REASON = 200  # characters of an error message that are worth a table cell


def reason(error: BaseException) -> str:
    """One line that names the error, e.g. ``ImportError: libGL.so.1: cannot open ...``."""
    text = ' '.join(str(error).split())
    if len(text) > MAX_REASON:
        text = text[: MAX_REASON - 3] + '...'
    return f'{type(error).__name__}: {text}' if text else type(error).__name__


def run_alone(name: str):
    """Run a file of the package by itself: importing the package needs a working mmengine."""
    here = os.path.dirname(os.path.abspath(__file__))
    path = os.path.join(os.path.dirname(here), f'{name}.py')
    spec = importlib.util.spec_from_file_location(f'selnext_mm_{name}', path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # must stay alive, since it owns what it declares
    spec.loader.exec_module(module)
    return module


def load_compat() -> Facts:
    """Apply the work-around that lets torchvision be imported."""
    try:
        run_alone('compat').declare_torchvision_ops()
    except Exception as error:
        return {'compat_error': reason(error)}
    return {}


def load_operators() -> None:
    """Let ``mmcv._ext`` be imported as the package does, where mmcv has none of its own."""
    here = os.path.dirname(os.path.abspath(__file__))
    path = os.path.join(os.path.dirname(here), 'mmcv_ext', 'finder.py')
    spec = importlib.util.spec_from_file_location('selnext_mm_finder', path)
    finder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(finder)
    finder.provide()


def expect(what: str, got, wanted) -> None:
    """Raise if a computed value (nested list) differs from the one worked out by hand."""
    import numpy as np

    if np.shape(got) != np.shape(wanted) or not np.allclose(got, wanted, atol=1e-5):
        raise ArithmeticError(f'{what} gave {got}, expected {wanted}')


def probe_setuptools() -> Iterator[Facts]:
    import setuptools

    yield {'version': setuptools.__version__}
    import pkg_resources  # noqa: F401

    yield {'pkg_resources': True}


def probe_numpy() -> Iterator[Facts]:
    import numpy as np

    yield {'version': np.__version__}
    try:
        import torch
    except Exception:
        return  # reported in the row of torch
    expect('torch.from_numpy', (torch.from_numpy(np.ones(2)) * 2).numpy().tolist(), [2.0, 2.0])


def probe_torch() -> Iterator[Facts]:
    import torch

    yield {'version': torch.__version__, 'cuda_build': torch.version.cuda}
    expect('a matrix product', (torch.ones(2, 3) @ torch.ones(3, 1)).tolist(), [[3.0], [3.0]])
    available = torch.cuda.is_available()
    yield {'computes': True, 'cuda': available}
    if available:
        card = torch.cuda.get_device_properties(0)
        yield {
            'cuda_devices': torch.cuda.device_count(),
            'cuda_name': card.name,
            'cuda_gib': round(card.total_memory / 2**30),
            'cuda_arch': f'sm_{card.major}{card.minor}',
            'cuda_built_for': torch.cuda.get_arch_list(),
        }
        product = torch.ones(2, 3, device='cuda') @ torch.ones(3, 1, device='cuda')
        expect('a matrix product on the device', product.cpu().tolist(), [[3.0], [3.0]])
        yield {'cuda_computes': True}


def probe_torchvision() -> Iterator[Facts]:
    yield load_compat()
    import torchvision

    loaded = torchvision.extension._has_ops()
    yield {'version': torchvision.__version__, 'compiled_ops': loaded}


def probe_mmengine() -> Iterator[Facts]:
    import mmengine

    yield {'version': mmengine.__version__}
    from mmengine.utils import get_installed_path, is_installed

    # Tested by behaviour, since forks mention pkg_resources in a branch that never runs: do the
    # calls behind `_base_ = 'mmdet::...'` still work if the module cannot be imported?
    sys.modules['pkg_resources'] = None
    try:
        is_installed('mmengine')
        get_installed_path('mmengine')
        needed = False
    except ImportError:
        needed = True
    del sys.modules['pkg_resources']
    yield {'needs_pkg_resources': needed}
    from mmengine.config import Config

    # The runner prints its config at the start, formatted by the installed yapf.
    if '32' not in Config({'batch_size': 32}).pretty_text:
        raise ValueError('Config.pretty_text lost a value')


def probe_transformers() -> Iterator[Facts]:
    """Whether mmpretrain's multimodal models can be imported beside the installed transformers."""
    yield {'fits': run_alone('compat_imports')._multimodal_models_work()}
    from importlib.metadata import version

    yield {'version': version('transformers')}


def operators() -> Facts:
    """Where ``mmcv._ext`` comes from, and whether programs that import mmcv first can use it."""
    from importlib.machinery import ExtensionFileLoader, PathFinder

    import mmcv

    spec = PathFinder.find_spec('mmcv._ext', mmcv.__path__)
    if spec and isinstance(spec.loader, ExtensionFileLoader):
        return {'ops_from': 'compiled'}
    import selnext_mm  # noqa: F401 - provides the operators
    from selnext_mm.mmcv_ext import torchvision_ops

    working = torchvision_ops.in_use()
    return {'ops_from': 'selnext_mm', 'ops_everywhere': bool(spec), 'by_torchvision': working}


def probe_mmcv() -> Iterator[Facts]:
    yield load_compat()
    import mmcv

    yield {'version': mmcv.__version__, 'ops_reached': True}
    import torch

    try:
        yield operators()
        prove_ops('cpu')
    except Exception as error:
        yield {'cpu_ops': reason(error)}
        return
    yield {'cpu_ops': 'ok'}
    if torch.cuda.is_available():
        try:
            prove_ops('cuda')
        except Exception as error:
            yield {'cuda_ops': reason(error)}
        else:
            yield {'cuda_ops': 'ok'}


def prove_ops(device: str) -> None:
    """Run nms and RoIAlign (forward, backward) of mmcv and compare with hand-made values.

    nms: boxes 0 and 1 overlap by 81/119 > 0.5, box 2 stands apart, so 0 and 2 stay.
    RoIAlign: one sample at (y, x) = (1.25, 1.5) of f(y, x) = 4 y + x, so 6.5; the gradient is
    the bilinear weight of the four pixels around it.
    """
    import torch
    from mmcv.ops import nms, roi_align

    boxes = [[0.0, 0.0, 10.0, 10.0], [1.0, 1.0, 11.0, 11.0], [20.0, 20.0, 30.0, 30.0]]
    scores = torch.tensor([0.9, 0.8, 0.7], device=device)
    _, kept = nms(torch.tensor(boxes, device=device), scores, iou_threshold=0.5)
    expect('nms', kept.cpu().tolist(), [0, 2])

    image = torch.arange(16.0, device=device).reshape(1, 1, 4, 4).requires_grad_()
    roi = torch.tensor([[0.0, 1.0, 0.75, 3.0, 2.75]], device=device)
    pooled = roi_align(image, roi, 1, 1.0, 1, 'avg', True)
    expect('roi_align', pooled.detach().cpu().flatten().tolist(), [6.5])
    pooled.sum().backward()
    weights = [[0.0] * 4, [0, 0.375, 0.375, 0], [0, 0.125, 0.125, 0], [0.0] * 4]
    expect('the gradient of roi_align', image.grad[0, 0].cpu().tolist(), weights)


def probe_opencv() -> Iterator[Facts]:
    import cv2

    yield {'version': cv2.__version__}
    import numpy as np

    doubled = cv2.resize(np.full((2, 2, 3), 7, np.uint8), (4, 4))
    expect('cv2.resize', doubled[..., 0].tolist(), [[7] * 4] * 4)


def probe_pycocotools() -> Iterator[Facts]:
    import numpy as np
    from pycocotools import mask

    square = np.zeros((4, 4), np.uint8, order='F')
    square[1:3, 1:3] = 1
    rle = mask.encode(square)
    expect('mask.decode', mask.decode(rle).tolist(), square.tolist())
    whole = mask.encode(np.ones((4, 4), np.uint8, order='F'))
    expect('mask.iou', mask.iou([rle], [whole], [0]).tolist(), [[0.25]])
    yield {'computes': True}


def probe_package(name: str) -> Iterator[Facts]:
    """Import every module that a training run of ``name`` registers."""
    yield load_compat()
    load_operators()
    package = importlib.import_module(name)
    yield {'version': package.__version__}
    importlib.import_module(f'{name}.utils').register_all_modules(init_default_scope=False)


def is_found_from_anywhere() -> bool:
    """Whether the package can be imported without relative entries of PYTHONPATH."""
    entries = os.environ.get('PYTHONPATH', '').split(os.pathsep)
    here = {os.path.abspath(entry) for entry in entries if entry and not os.path.isabs(entry)}
    path, module = list(sys.path), sys.modules.pop('selnext_mm', None)
    sys.path[:] = [entry for entry in path if os.path.abspath(entry) not in here]
    try:
        return importlib.util.find_spec('selnext_mm') is not None
    finally:
        sys.path[:] = path
        if module is not None:
            sys.modules['selnext_mm'] = module


def probe_selnext_mm() -> Iterator[Facts]:
    if not is_found_from_anywhere():
        raise ModuleNotFoundError("No module named 'selnext_mm' in another folder")
    import selnext_mm

    yield {'version': selnext_mm.__version__, 'folder': os.path.dirname(selnext_mm.__file__)}
    import torch  # noqa: F401  (without it the package registers nothing, and says nothing)
    from mmengine.registry import MODELS

    if MODELS.get('SELNeXt') is None:
        raise LookupError('import selnext_mm does not register SELNeXt')
    scopes = ['mmengine']
    yield {'scopes': scopes}
    for scope in ('mmdet', 'mmpretrain'):
        try:
            registry = importlib.import_module(f'{scope}.registry')
        except Exception:
            continue  # reported in the row of that package
        registry.MODELS.build({'type': 'SELNeXt', 'arch': 'tiny'})
        scopes.append(scope)
        yield {'scopes': scopes}


PROBES = {
    'setuptools': probe_setuptools,
    'numpy': probe_numpy,
    'torch': probe_torch,
    'torchvision': probe_torchvision,
    'mmengine': probe_mmengine,
    'mmcv': probe_mmcv,
    'opencv': probe_opencv,
    'transformers': probe_transformers,
    'pycocotools': probe_pycocotools,
    'mmdet': lambda: probe_package('mmdet'),
    'mmpretrain': lambda: probe_package('mmpretrain'),
    'selnext_mm': probe_selnext_mm,
}


def main(names: list[str]) -> None:
    # Running a file puts its folder first in sys.path: our modules would shadow top-level ones.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]

    for name in names:

        def tell(facts: Facts, name: str = name) -> None:
            print(f'\n{MARK}{json.dumps([name, facts])}', flush=True)

        tell({})  # from now on, a crash belongs to this probe
        try:
            for facts in PROBES[name]():
                tell(facts)
        except Exception as error:
            return tell({'error': reason(error)})
        tell({'done': True})


if __name__ == '__main__':
    main(sys.argv[1:])
