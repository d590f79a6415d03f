"""A checkpoint may be large: publishing reads it once."""

import torch

from selnext_mm.publish.folder import publish
from tests.publish.test_publish import SCORES, as_run


def test_the_checkpoint_is_read_once(tmp_path, classifier, monkeypatch):
    run, read, load = as_run(tmp_path / 'run', classifier, SCORES), [], torch.load

    def spy(file, **options):
        read.append(file)
        return load(file, **options)

    monkeypatch.setattr(torch, 'load', spy)
    publish(run, tmp_path / 'out')
    assert read == [run / 'best_x_epoch_3.pth']
