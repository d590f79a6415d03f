"""Accepted versions, and the command that fixes a requirement.

Imports nothing but the standard library: it works where nothing else does.
"""

import ast
import importlib.util
import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TORCH_PIN, TORCHVISION_PIN = '2.13.0', '0.28.0'

Bounds = dict[str, tuple[str, str]]  # package that sets them -> (lowest accepted, first refused)


@dataclass(frozen=True)
class Pin:
    """Tested versions of one import name; a version above ``last_stock`` is the fork's."""

    stock: str
    last_stock: str
    fork: str
    fork_version: str
    bounds: tuple[str, str]  # lowest accepted, first refused


PINS = {
    'mmengine': Pin('0.10.7', '0.10.7', 'onedl-mmengine', '0.10.12', ('0.10', '1')),
    'mmcv': Pin('2.1.0', '2.2.0', 'onedl-mmcv', '2.3.6', ('2.0.1', '3')),
    'mmdet': Pin('3.3.0', '3.3.0', 'onedl-mmdetection', '3.5.1', ('3.3', '4')),
    'mmpretrain': Pin('1.2.0', '1.2.0', 'onedl-mmpretrain', '1.3.6', ('1.2', '2')),
}

# Packages whose name to install differs from the name to import.
DISTRIBUTIONS = {
    'PIL': 'pillow',
    'cv2': 'opencv-python-headless',
    'imgaug': 'imaug',  # the fork of imgaug that onedl's mmdet requires
    'mpl_toolkits': 'matplotlib',
    'pkg_resources': 'setuptools<81',
    'skimage': 'scikit-image',
    'sklearn': 'scikit-learn',
    'torch': f'torch=={TORCH_PIN}',
    'torchvision': f'torchvision=={TORCHVISION_PIN}',
    'yaml': 'pyyaml',
}


def version_key(version: str) -> tuple:
    """Sort key of a version: ``2.0.0rc4`` before ``2.0.0``, equal to ``2.0.0+cpu``."""
    match = re.match(r'(\d+(?:\.\d+)*)\.?(?:(dev|a|b|rc)(\d+))?', version)
    if match is None:
        return ((0, 0, 0, 0), 0, 0)
    numbers = ([int(number) for number in match[1].split('.')] + [0] * 4)[:4]
    stage = ('dev', 'a', 'b', 'rc', None).index(match[2])
    return (tuple(numbers), stage, int(match[3] or 0))


def within(version: str, low: str, high: str) -> bool:
    """``low <= version < high``."""
    return version_key(low) <= version_key(version) < version_key(high)


def package_source(package: str, file: str) -> str:
    """The content of a file of an installed package, '' if there is none; imports nothing."""
    try:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:  # missing, or a folder without __init__.py
            return ''
        return Path(spec.origin).with_name(file).read_text(encoding='utf-8')
    except (ImportError, ValueError, OSError):
        return ''


def source_version(package: str) -> str:
    """``__version__`` as the package's ``version.py`` spells it, '' if it is computed."""
    text = package_source(package, 'version.py')
    match = re.search(r"""^__version__[^=]*=\s*['"]([^'"]+)['"]""", text, re.MULTILINE)
    return match[1] if match else ''


def declared_bounds(package: str) -> Bounds:
    """Bounds that mmdet and mmpretrain set for mmcv or mmengine, read from their source.

    The source is read, not imported, because the import fails with a version outside the bounds.
    The forks set no bounds, or others.
    """
    found: Bounds = {}
    for owner in ('mmdet', 'mmpretrain'):
        try:
            body = ast.parse(package_source(owner, '__init__.py')).body
        except SyntaxError:
            continue
        values: dict[str, Any] = {
            node.targets[0].id: node.value.value
            for node in body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
        }
        low, high = (values.get(f'{package}_{end}_version') for end in ('minimum', 'maximum'))
        if low and high:
            found[owner] = (low, high)
    return found


def tightest(bounds: Bounds) -> tuple[str, str, str]:
    """The highest lower bound, the lowest upper bound, and the package that sets the latter."""
    low = max((low for low, _ in bounds.values()), key=version_key)
    owner = min(bounds, key=lambda name: version_key(bounds[name][1]))
    return low, bounds[owner][1], owner


def python_command() -> str:
    """``python`` if that is the running interpreter, else its path."""
    first = shutil.which('python')
    if first and os.path.dirname(first) == os.path.dirname(sys.executable):
        return 'python'
    return shlex.quote(sys.executable)


class Remedies:
    """Commands that fix an environment with these ``versions`` of the OpenMMLab packages.

    An environment with any of the onedl forks is fixed with forks, any other with stock
    packages, since the two overwrite each other's files. ``mmcv_bounds`` are the
    (lowest, first refused) pairs that the installed packages set for mmcv.
    """

    def __init__(self, versions: dict[str, str], mmcv_bounds: list[tuple[str, str]]):
        self.fork = any(
            version_key(version) > version_key(PINS[name].last_stock)
            for name, version in versions.items()
        )
        self.mmcv_bounds = mmcv_bounds
        self.lines: dict[str, str] = {}

    def pip(self, *requirements: str, options: str = '') -> str:
        quoted = ' '.join(f'"{requirement}"' for requirement in requirements)
        return ' '.join(filter(None, (python_command(), '-m pip install', options, quoted)))

    def reinstall(self, requirement: str) -> str:
        """The command that replaces a package which is installed but unusable."""
        return self.pip(requirement, options='--force-reinstall --no-deps')

    def torch(self, options: str = '') -> str:
        """The command that installs the tested pair of torch and torchvision."""
        return self.pip(f'torch=={TORCH_PIN}', f'torchvision=={TORCHVISION_PIN}', options=options)

    def package(self, name: str) -> str:
        """The command that installs the tested version of an OpenMMLab package."""
        if name == 'mmcv':
            return self.mmcv()
        pin = PINS[name]
        requirement = f'{pin.fork}=={pin.fork_version}' if self.fork else f'{name}=={pin.stock}'
        # With dependencies it would install an mmcv without ops; mmengine does not depend on mmcv.
        return self.pip(requirement, options='' if name == 'mmengine' else '--no-deps')

    def mmcv(self, cuda: bool = False) -> str:
        """The command that installs mmcv: mmcv-lite, whose operators selnext_mm computes.

        Only the fork has no such edition and is compiled. pip caches a wheel that it once built
        without ops, and accepts an installed mmcv as it is: hence the two options that make it
        start over. The stock mmcv is removed first, since both install the same folder.
        """
        pin = PINS['mmcv']
        choices = [('mmcv', pin.stock), (pin.fork, pin.fork_version)]
        if self.fork:
            choices.reverse()
        fitting = [
            (name, version)
            for name, version in choices
            if all(within(version, low, high) for low, high in self.mmcv_bounds)
        ]
        name, version = [*fitting, choices[0]][0]
        if name == 'mmcv':
            removal = f'{python_command()} -m pip uninstall -y mmcv mmcv-lite'
            return f'{removal} && {self.pip(f"mmcv-lite=={version}", options="--no-deps")}'
        requirement = f'{name}=={version}'
        options = '--no-build-isolation --no-deps --force-reinstall --no-cache-dir'
        build = 'FORCE_CUDA=1 MMCV_WITH_OPS=1' if cuda else 'MMCV_WITH_OPS=1'
        return f'{build} {self.pip(requirement, options=options)}'

    def headless_opencv(self) -> str:
        """opencv-python and -headless own the same files: remove one, restore the other."""
        return f'{python_command()} -m pip uninstall -y opencv-python && ' + self.pip(
            'opencv-python-headless', options='--force-reinstall --no-deps'
        )

    def after(self, error: str, default: str) -> str:
        """The command for the cause that ``error`` names, ``default`` if it names none.

        One broken package makes all that import it fail with the same message, and the command of
        the first row with this message is the right one. So call this in the order of the table.
        """
        if not error:
            return default
        return self.lines.setdefault(error, self.by_words(error) or default)

    def by_words(self, error: str) -> str:
        if error.startswith('no answer in'):
            return f'{python_command()} -m selnext_mm doctor --timeout 900'
        if re.search(r'lib(GL|gthread|SM|Xext|Xrender)\b', error):
            return self.headless_opencv()
        if re.search(r'mmcv\._ext|_ext\.\S*so|MMCV==', error):
            return self.mmcv()
        if 'MMEngine==' in error:
            return self.package('mmengine')
        match = re.search(r"No module named '(\w+)", error)
        if match is None:
            return ''
        if match[1] in PINS:
            return self.package(match[1])
        return self.pip(DISTRIBUTIONS.get(match[1], match[1]))
