"""A Python process in which some packages are not installed."""

import os
import subprocess
import sys

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
