"""Options of ``selnext-mm predict`` that a detector or a classifier has no use for."""

import pytest

from selnext_mm.__main__ import main

pytest.importorskip('mmdet')
pytest.importorskip('mmpretrain')


@pytest.mark.parametrize(
    ('kind', 'option', 'text'),
    [
        ('classifier', '--score-thr 0.9', '--score-thr 0.9 is for detectors; of a classifier the'),
        ('detector', '--top-k 3', '--top-k 3 is for classifiers; of a detector all objects are'),
    ],
)
def test_an_option_of_the_other_kind_is_refused(kind, option, text, pictures, request, capsys):
    files = request.getfixturevalue(kind)
    line = ('predict', files.config, files.checkpoint, pictures, '--out', pictures / 'out')
    assert main([*map(str, line), *option.split()]) == 2
    assert text in capsys.readouterr().err
    assert not (pictures / 'out').exists()
