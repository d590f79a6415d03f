"""Results are written by ``disk.py``: complete or not at all. This holds the package to it."""

import ast
import re
from pathlib import Path

import pytest

import selnext_mm

PACKAGE = Path(selnext_mm.__file__).parent
RENAMES = {'os.replace', 'os.rename', 'shutil.move'}
TEMPORARY = {'tempfile.mkstemp', 'tempfile.NamedTemporaryFile', 'tempfile.mktemp'}
MODE = re.compile(r'[rbt]*[wax+][bt+]*')
DRAFT = 'into a file or folder that appears when it is complete'
ALLOWED = {
    'disk.py': 'the writers themselves',
    'evaluation/output.py': 'files of one evaluation, moved together, the one that names them last',
    'evaluation/class_predictions.py': DRAFT,
    'engine/runner.py': DRAFT,
    'inference/output.py': DRAFT,
    'datasets/semantic_maps.py': DRAFT,
    'datasets/formats/classify.py': DRAFT,
    'datasets/formats/find.py': DRAFT,
    'datasets/formats/spool.py': DRAFT,
    'datasets/formats/write.py': DRAFT,
    'datasets/shapes.py': DRAFT,
    'inference/clips.py': DRAFT,
    'engine/hooks/banner.py': 'more lines of a log',
    'engine/hooks/unreadable_images.py': 'a line of a record, beside those of other workers',
}


def writes(source: str) -> list[str]:
    """The calls in ``source`` that write or move files: ``line: call``."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ''
        values = [*node.args[:2], *(k.value for k in node.keywords if k.arg == 'mode')]
        modes = [v.value for v in values if isinstance(v, ast.Constant)]
        opens = any(MODE.fullmatch(str(mode)) for mode in modes)
        if (
            name in RENAMES | TEMPORARY
            or method in ('write_text', 'write_bytes')
            or (method == 'rename' and len(node.args) == 1)
            or (name.endswith('open') and opens)
        ):
            found.append(f'{node.lineno}: {name}')
    return found


FILES = sorted(PACKAGE.rglob('*.py'))


@pytest.mark.parametrize('path', FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_results_are_written_by_the_disk_module(path):
    found = writes(path.read_text(encoding='utf-8'))
    allowed = path.relative_to(PACKAGE).as_posix() in ALLOWED
    assert bool(found) == allowed, f'{found}: use selnext_mm.disk, or a line in ALLOWED says why'


@pytest.mark.parametrize(
    'line',
    [
        "open(path, 'w')",
        "open(path, mode='ab')",
        "path.open('w')",
        "gzip.open(path, 'wb')",
        "path.write_text('a')",
        'path.rename(other)',
        'os.replace(a, b)',
        'tempfile.NamedTemporaryFile()',
    ],
)
def test_a_write_is_seen(line):
    assert writes(line)


@pytest.mark.parametrize('line', ['open(path)', "open(path, 'rb')", "text.replace('a', 'b')"])
def test_what_only_reads_is_not(line):
    assert not writes(line)
