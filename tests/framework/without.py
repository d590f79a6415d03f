"""Python processes in which some packages are not installed, or only torch is."""

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

import selnext_mm

OPENMMLAB = ('mmengine', 'mmcv', 'mmdet', 'mmpretrain')
# What an environment with torch alone, whose own requirements are kept, does not have.
ALL_BUT_TORCH = (
    *OPENMMLAB,
    *('torchvision', 'timm', 'cv2', 'PIL', 'pycocotools', 'matplotlib', 'rich', 'psutil'),
    *(
        'safetensors',
        'huggingface_hub',
        'filelock',
        'addict',
        'yapf',
        'scipy',
        'onnx',
        'onnxscript',
    ),
)

HIDE = """
import sys
from importlib.machinery import PathFinder

class Hidden(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition('.')[0] in {names!r}:
            return None
        return super().find_spec(name, path, target)

sys.meta_path[:] = [Hidden if finder is PathFinder else finder for finder in sys.meta_path]
"""


def run_without(names, code: str, *arguments, cwd=None) -> subprocess.CompletedProcess:
    """Run ``code`` where nothing finds the packages ``names``, as if they were not installed."""
    return subprocess.run(
        [
            sys.executable,
            '-W',
            'ignore',
            '-c',
            HIDE.format(names=names) + code,
            *map(str, arguments),
        ],
        cwd=cwd,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(p for p in sys.path if p)},
        capture_output=True,
        text=True,
        timeout=300,
    )


def requirements_of(name: str) -> set[str]:
    """The distributions that ``name`` needs here, without extras, and those that they need."""
    found, queue = set(), [name]
    while queue:
        name = queue.pop()
        try:
            needed = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # the environment does without
        if name not in found:
            found.add(name)
            wanted = map(Requirement, needed)
            queue += [r.name for r in wanted if not r.marker or r.marker.evaluate({'extra': ''})]
    return found


def link_with_requirements(name: str, folder: Path) -> Path:
    """A new ``folder`` that holds ``name``, what it needs, and this package; nothing else."""
    folder.mkdir()
    for needed in requirements_of(name):
        package = distribution(needed)
        # Parts of one name space, as of nvidia's libraries, have one folder.
        for top in {file.parts[0] for file in package.files or [] if file.parts[0] != '..'}:
            place = folder / top
            if top != '__pycache__' and not top.endswith('.pth') and not place.exists():
                place.symlink_to(package.locate_file(top))
    place = folder / 'selnext_mm'
    place.symlink_to(Path(selnext_mm.__file__).parent)
    return folder


def run_in(folder: Path, code: str, *arguments, cwd=None) -> subprocess.CompletedProcess:
    """Run ``code`` where the packages in ``folder`` and the standard library are all there is.

    ``-I`` and ``-S``: no environment variable, no current folder, no site-packages.
    """
    path = f'import sys; sys.path.append({str(folder)!r})\n'
    return subprocess.run(
        [sys.executable, '-I', '-S', '-W', 'ignore', '-c', path + code, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )
