"""Packaging: metadata, and configs and tools inside the wheel under ``selnext_mm/.mim``."""

import os
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
MIM = ('configs', 'tools', 'model-index.yml')


class BuildWithMim(build_py):
    """Put what ``mim`` and ``_base_ = 'selnext_mm::...'`` look for into the package.

    A wheel gets copies; an editable install gets links, so that edits are seen.
    """

    def run(self) -> None:
        super().run()
        if getattr(self, 'editable_mode', False):
            target = ROOT / 'selnext_mm' / '.mim'
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            for name in MIM:
                os.symlink(Path('..', '..', name), target / name)
            write_aliases(target / 'aliases')
            return
        target = Path(self.build_lib, 'selnext_mm', '.mim')
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        ignore = shutil.ignore_patterns('__pycache__')
        for name in MIM:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, target / name, ignore=ignore)
            else:
                shutil.copy2(source, target / name)
        write_aliases(target / 'aliases')


def write_aliases(folder: Path) -> None:
    """A file by the long name of each config, which inherits it.

    ``mim`` looks a config up by its file name in the whole package, and that of some is in two
    folders; the long names are unique.
    """
    folder.mkdir()
    for path in sorted((ROOT / 'configs').rglob('*.py')):
        first = path.read_text().split('\n', 1)[0]
        if first.startswith('# long name:'):
            name = first.split(':')[1].split()[0]
            relative = path.relative_to(ROOT).as_posix()
            (folder / f'{name}.py').write_text(f"_base_ = '../{relative}'\n")


def requirements(name: str) -> list[str]:
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line.split('#')[0].strip() for line in lines if line.split('#')[0].strip()]


version = re.search(r"__version__ = '(.+)'", (ROOT / 'selnext_mm' / '__init__.py').read_text())[1]

setup(
    name='selnext_mm',
    version=version,
    description='SELNeXt backbones and recipes for MMDetection and MMPretrain',
    long_description=(ROOT / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['selnext_mm', 'selnext_mm.*']),
    package_data={
        'selnext_mm': ['py.typed'],
        'selnext_mm.report': ['page.html', 'page.css', 'page.js'],
        'selnext_mm.serve': ['page.html', 'page.css', 'page.js'],
    },
    # torch and mm* are not here: a hard requirement would replace a CUDA build or a fork that
    # installs the same import names. "selnext-mm doctor" checks them.
    install_requires=requirements('runtime'),
    extras_require={
        'mm': requirements('mm'),
        'openmmlab': requirements('openmmlab'),
        'onedl': requirements('onedl'),
        'timm': requirements('timm'),
        'mmseg': requirements('mmseg'),
        'hub': requirements('hub'),
        'analysis': requirements('analysis'),
        'report': requirements('report'),
        'tensorboard': requirements('tensorboard'),
        'tune': requirements('tune'),
        'docs': requirements('docs'),
        'dev': requirements('dev'),
        'export': requirements('export'),
        'runtime': requirements('deploy'),  # runtime.txt is what every installation needs
        'serve': requirements('serve') + requirements('deploy'),
        'openvino': requirements('openvino'),
        'fast-eval': requirements('fast-eval'),
        'formats': requirements('formats'),
        'notebook': requirements('notebook'),
    },
    entry_points={'console_scripts': ['selnext-mm = selnext_mm.__main__:main']},
    cmdclass={'build_py': BuildWithMim},
    zip_safe=False,
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'License :: OSI Approved :: Apache Software License',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Programming Language :: Python :: 3.14',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
)
