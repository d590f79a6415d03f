"""``mmcv._ext`` without a compiler: found when nothing else is, complete, and cheap."""

import ast
import importlib.util
from pathlib import Path

import pytest

from selnext_mm.errors import UserError
from selnext_mm.mmcv_ext.module import COMPILED_ONLY, COMPUTED
from tests.mmcv_ext import calls


def names_asked_for():
    """The names that the installed mmcv's files load from ``_ext``."""
    folder = Path(importlib.util.find_spec('mmcv').origin).parent / 'ops'
    for path in folder.glob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, 'attr', '') == 'load_ext':
                yield from ast.literal_eval(node.args[1])


def test_every_name_that_mmcv_loads_is_there(ours):
    names = set(names_asked_for())
    assert len(names) > 100
    assert not [name for name in names if not callable(getattr(ours, name, None))]


@pytest.mark.skipif(
    calls.compiled() is None,
    reason='needs an mmcv with compiled operators: MMCV_OPS=cpu make setup',
)
def test_every_name_of_the_compiled_module_is_there(ours):
    names = {name for name in dir(calls.compiled()) if not name.startswith('__')}
    assert names <= set(vars(ours))


def test_a_name_is_either_computed_or_not():
    computed = {name for names in COMPUTED.values() for name in names}
    assert not computed & set(COMPILED_ONLY)
    assert len(set(COMPILED_ONLY)) == len(COMPILED_ONLY)


@pytest.mark.parametrize('name', ['carafe_forward', 'nms_rotated', 'sync_bn_forward_mean'])
def test_what_is_not_computed_says_how_to_get_it(ours, name):
    with pytest.raises(UserError) as caught:
        getattr(ours, name)(1, key=2)
    text = str(caught.value)
    assert text.startswith(f'mmcv._ext.{name} needs the compiled mmcv')
    assert 'MMCV_OPS=cpu make setup' in text
    assert '\n' not in text


def test_without_us_there_are_no_operators(python):
    assert python('import mmcv.ops') == "ModuleNotFoundError: No module named 'mmcv._ext'"


def test_importing_the_package_provides_them(python):
    code = """
    import selnext_mm, torch
    from mmcv.ops import nms, get_compiler_version, roi_align
    from mmengine.utils.dl_utils.misc import mmcv_full_available
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]])
    _, kept = nms(boxes, torch.tensor([0.8, 0.9, 0.7]), 0.5)
    print(kept.tolist(), get_compiler_version(), mmcv_full_available())
    """
    assert python(code) == '[1, 2] none (selnext_mm.mmcv_ext) True'


def test_an_import_that_failed_before_succeeds_after(python):
    code = """
    try:
        import mmcv.ops
    except ModuleNotFoundError:
        import selnext_mm
    import mmcv.ops
    print(mmcv.ops.nms.__module__)
    """
    assert python(code) == 'mmcv.ops.nms'


def test_importing_the_package_loads_neither_mmcv_nor_the_operators(python):
    code = """
    import sys, selnext_mm
    loaded = [m for m in sys.modules if m.split('.')[0] in ('mmcv', 'mmdet', 'mmpretrain')]
    ours = [m for m in sys.modules if m.startswith('selnext_mm.mmcv_ext')]
    print(loaded, ours)
    """
    assert python(code) == "[] ['selnext_mm.mmcv_ext', 'selnext_mm.mmcv_ext.finder']"


def test_the_finder_comes_after_that_of_files_and_is_there_once(python):
    code = """
    import sys, selnext_mm
    from selnext_mm.mmcv_ext.finder import provide
    provide()
    names = [getattr(f, '__name__', type(f).__name__) for f in sys.meta_path]
    print(names.index('OperatorFinder') > names.index('PathFinder'), names.count('OperatorFinder'))
    """
    assert python(code) == 'True 1'


def test_another_ext_is_left_alone(python, tmp_path):
    """A stand-in for a compiled module."""
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv' / '__init__.py').touch()
    (tmp_path / 'mmcv' / '_ext.py').write_text('nms = "the real one"\n')
    code = """
    import sys
    sys.path.insert(0, '.')
    import selnext_mm
    from mmcv import _ext
    print(_ext.nms)
    """
    assert python(code) == 'the real one'


@pytest.mark.skipif(
    calls.compiled() is None,
    reason='needs an mmcv with compiled operators: MMCV_OPS=cpu make setup',
)
def test_compiled_operators_are_used_where_they_are():
    import mmcv.ops.nms  # noqa: F401
    from mmcv import _ext

    assert _ext is calls.compiled()
    assert _ext.__file__.endswith(('.so', '.pyd'))
