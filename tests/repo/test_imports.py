"""The arrows of the house: which room may import which."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

from selnext_mm.models.lazy import LAZY

PACKAGE = Path(__file__).resolve().parents[2] / 'selnext_mm'
# room -> rooms of the package that it may import besides itself, from the bottom up. '' is the
# package itself, of which all may ask the version.
BOTTOM = {
    *('errors', 'text', 'ranks', 'disk', 'config_files', 'registry', 'framework', 'slicing', ''),
}
BUILT = {*BOTTOM, 'ops', 'config', 'models', 'checkpoints'}
READ = {*BUILT, 'engine', 'datasets', 'evaluation', 'visualization'}
ALLOWED = {
    'errors': set(),
    'text': set(),
    'registry': set(),
    'ranks': set(),
    # mmengine's registry and module bases, or the stand-ins for torch alone.
    'framework': {'errors', 'text'},
    'disk': {'errors', 'text'},
    # Images and lists of objects; nothing of it needs torch.
    'slicing': {'errors'},
    'config_files': {'errors', 'text'},
    'compat': {
        *BOTTOM,
        'checkpoints',
        'compat_config',
        'compat_imports',
        'distributions',
        'mmcv_ext',
        'torchvision_import',
    },
    'compat_config': set(),
    'compat_imports': {'import_hooks'},
    'import_hooks': set(),
    'torchvision_import': {'import_hooks'},
    'distributions': set(),
    # Files in the folders of other packages.
    'site_files': {'disk', 'errors'},
    'mmcv_ext': {'disk', 'errors', 'ops', 'site_files'},
    'ops': {'errors', 'framework'},
    'models.attention': {'errors', 'framework', 'ops'},
    'models.lazy': {'errors', 'framework'},
    'models.backbones': {*BOTTOM, 'ops', 'models.attention', 'models.lazy', 'checkpoints'},
    'models.necks': {'framework', 'models.backbones'},
    'models.selfsup': {'models.backbones'},
    'models': {'models.attention', 'models.backbones', 'models.lazy', 'models.necks'},
    # The models behind timm's interface; nothing of the package imports it.
    'timm': {*BOTTOM, 'models', 'checkpoints'},
    'torchvision': {'errors'},
    'checkpoints': BOTTOM,
    'config': {*BOTTOM, 'models', 'checkpoints', 'site_files'},
    'datasets': BUILT,
    # Scores are computed on the one form that a COCO file is read in.
    'evaluation': {*BUILT, 'datasets'},
    # A session checks the labels before it trains, and writes the scores after a test.
    'engine': {*BUILT, 'compat', 'datasets', 'evaluation'},
    'visualization': {*BUILT, 'engine', 'datasets', 'evaluation'},
    'inference': READ,
    'analysis': {*READ, 'compat', 'inference'},
    # Lists of images and the files of a prediction; nothing of it needs torch.
    'runtime': {*BOTTOM, 'inference'},
    # The drawing of a prediction is inference's; nothing of it needs torch.
    'serve': {*BOTTOM, 'inference', 'runtime'},
    'export': {*READ, 'inference', 'runtime'},
    'report': {*READ, 'inference', 'analysis'},
    'doctor': {'errors', 'mmcv_ext', ''},
    'publish': {*READ, 'inference', 'export', 'report', 'recipes', 'timm'},
    'recipes': {*READ, 'inference', 'analysis', 'report'},
}
HEAVY = {'mmcv', 'mmdet', 'mmpretrain', 'torchvision'}
# Rooms that work with torch alone: mmengine through 'framework', or inside a function.
PLAIN = {'errors', 'text', 'ranks', 'disk', 'slicing', 'ops', 'models', 'checkpoints'}


def room(module: str) -> str:
    """'models.attention' for 'selnext_mm.models.attention.seln'; '' for the package itself."""
    parts = module.split('.')[1:]
    if parts[:1] == ['models']:
        return '.'.join(parts[:2])
    return parts[0] if parts else ''


def may_import(own: str, other: str) -> bool:
    """Whether the room ``own`` may import the room ``other``."""
    return other in ALLOWED[own] or other.split('.')[0] in ALLOWED[own]


@functools.cache
def imports(path: Path) -> list[tuple[str, bool]]:
    """(module, at top level?) of every import of a file, relative ones resolved."""
    return list(found_imports(path))


def found_imports(path: Path):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):  # what types need is not imported when it runs
        if isinstance(node, ast.If) and ast.unparse(node.test) == 'TYPE_CHECKING':
            node.body = []
    package = ['selnext_mm', *path.relative_to(PACKAGE).parent.parts]
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = '.'.join([*base, *([node.module] if node.module else [])])
            if module == 'selnext_mm':
                for alias in node.names:
                    submodule = (PACKAGE / f'{alias.name}.py').exists() or (
                        PACKAGE / alias.name
                    ).is_dir()
                    yield f'selnext_mm.{alias.name}' if submodule else 'selnext_mm', id(node) in top
            else:
                yield module, id(node) in top


FILES = sorted(p for p in PACKAGE.rglob('*.py') if '.mim' not in p.parts)


ROOMS = {}
for _path in FILES:
    ROOMS.setdefault(_path.relative_to(PACKAGE).parts[0].removesuffix('.py'), []).append(_path)
each_room = pytest.mark.parametrize('files', ROOMS.values(), ids=ROOMS)


def at_top(path: Path) -> set[str]:
    """The packages that a file imports when it is imported itself."""
    return {name.split('.')[0] for name, top in imports(path) if top}


@each_room
def test_imports_follow_the_arrows(files):
    for path in files:
        module = '.'.join(['selnext_mm', *path.relative_to(PACKAGE).with_suffix('').parts])
        own = room(module.removesuffix('.__init__'))
        if own in ('cli', '__main__', '__init__', ''):
            continue
        for name, _ in imports(path):
            if name.split('.')[0] == 'selnext_mm' and room(name) != own:
                assert may_import(own, room(name)), f'{path}: {own} may not import {name}'


@each_room
def test_nothing_but_torch_and_mmengine_is_needed_at_import(files):
    lazy = {module.rpartition('.')[2] for module, _ in LAZY.values()}
    for path in files:
        own = path.relative_to(PACKAGE).parts[0]
        if own in ('cli', 'analysis', 'datasets', 'visualization', 'evaluation', 'report'):
            continue
        if own in ('timm', 'torchvision.py') or path.stem in lazy:  # bridges to these packages
            continue
        assert not at_top(path) & HEAVY, path


@each_room
def test_models_need_nothing_of_openmmlab_at_import(files):
    lazy = {module.rpartition('.')[2] for module, _ in LAZY.values()}
    for path in files:
        if (
            path.relative_to(PACKAGE).parts[0].removesuffix('.py') in PLAIN
            and path.stem not in lazy
        ):
            assert 'mmengine' not in at_top(path), path


def test_nothing_imports_the_bridges():
    bridges = ('selnext_mm.timm', 'selnext_mm.torchvision')
    for path in FILES:
        if path.relative_to(PACKAGE).parts[0] not in ('timm', 'torchvision.py'):
            # Inside a function, where timm is known to be installed, it may.
            assert not any(top and n.startswith(bridges) for n, top in imports(path)), path


def test_nothing_imports_the_command_line():
    for path in FILES:
        if path.relative_to(PACKAGE).parts[0] in ('cli', '__main__.py'):
            continue
        assert not any(n.startswith('selnext_mm.cli') for n, _ in imports(path)), path


def test_the_package_imports_without_mmcv_mmdet_and_mmpretrain(tmp_path):
    for name in ('mmcv', 'mmdet', 'mmpretrain'):
        (tmp_path / f'{name}.py').write_text('raise ImportError("not installed")\n')
    code = (
        'import sys; sys.path.insert(0, "."); import torch, selnext_mm; '
        'from mmengine.registry import MODELS; '
        'm = MODELS.build(dict(type="SELNeXt", arch="atto")); '
        'print(m(torch.zeros(1, 3, 32, 32))[0].shape)'
    )
    result = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code], cwd=tmp_path, capture_output=True, text=True
    )
    assert 'torch.Size([1, 320])' in result.stdout, result.stderr


def test_modules_are_one_sitting_long():
    long = {str(p): n for p in FILES if (n := len(p.read_text().splitlines())) > 320}
    assert long == {}
