"""The file of a test: what stands in it beside the metrics."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config

from selnext_mm.evaluation.output import OutputFiles

pytest.importorskip('mmdet')


def evaluated(classes):
    """A summarised COCOeval of one class; of proposals, which are of no class, without."""
    return SimpleNamespace(
        params=SimpleNamespace(
            useCats=int(classes),
            iouType='bbox',
            catIds=[1] if classes else [-1],
            iouThrs=np.arange(0.5, 1, 0.05),
        ),
        eval=dict(precision=-np.ones((10, 101, 1, 4, 3)), recall=-np.ones((10, 1, 4, 3))),
        cocoGt=SimpleNamespace(cats={1: dict(name='cat')}),
    )


def test_proposals_are_of_no_class(tmp_path):
    metric = dict(type='CocoMetric', ann_file='a.json', metric=['bbox', 'proposal'])
    cfg = Config(dict(default_scope='mmdet', test_evaluator=metric))
    with OutputFiles(tmp_path / 'o.json') as output:
        output.ask_of(cfg)
        output.add_summary(cfg, 'w.pth', {'coco/AR@100': 0.5}, [evaluated(True), evaluated(False)])
    content = json.loads((tmp_path / 'o.json').read_text())
    assert list(content['per_class']) == ['bbox']
    assert list(content['per_class']['bbox']) == ['cat']
