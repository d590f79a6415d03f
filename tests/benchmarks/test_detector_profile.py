"""benchmarks/detector_profile.py: which part of a detector an operator or a gradient is of."""

import json
from types import SimpleNamespace

import detector_profile
import pytest
import torch
from torch import nn

from selnext_mm.__main__ import call
from selnext_mm.errors import UserError


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(8, 8)
        self.neck = nn.Conv1d(1, 1, 3)
        self.roi_head = nn.Module()
        self.roi_head.bbox_head = nn.ModuleList(nn.Bilinear(6, 6, 2) for _ in range(2))

    def forward(self, x):
        x = self.neck(self.backbone(x)[:, None])[:, 0]
        return sum(head(x, x).exp().sum() for head in self.roi_head.bbox_head)


def test_operators_and_gradients_belong_to_a_part():
    model = Toy()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    found = detector_profile.mark_parts(model, optimizer)
    heads = 'roi_head.bbox_head.forward'
    steps = ['optimizer.step', 'optimizer.zero_grad']
    assert found == ['backbone.forward', 'neck.forward', heads, *steps]
    recorder = detector_profile.Recorder()
    recorder.start()
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(4, 8)).backward()
        optimizer.step()
    result = recorder.stop(passes=2)
    parts = {row['part']: row for row in result['parts']}
    assert set(parts) >= {*found, detector_profile.ELSEWHERE}
    for name in found[:3]:
        assert min(parts[name]['forward'], parts[name]['backward'], parts[name]['python']) > 0
    assert all(parts[name]['backward'] == 0 for name in steps)
    outside = {(row['part'], row['operator']): row['calls'] for row in result['operators']}
    assert not any(part.startswith('backbone') for part, _ in outside)
    assert outside['neck.forward', 'aten::convolution_backward'] == 1
    assert outside[heads, 'aten::_trilinear'] >= 2, 'both heads count'
    assert outside[detector_profile.ELSEWHERE, 'aten::exp'] == 2
    times = [row['ms'] for row in result['operators']]
    assert times == sorted(times, reverse=True)


def test_a_test_set_of_one_image_is_refused():
    runner = SimpleNamespace(
        model=Toy(),
        cfg=SimpleNamespace(test_dataloader={}),
        build_dataloader=lambda cfg: [torch.randn(1, 8)],
    )
    with pytest.raises(UserError, match='the test set has one image'):
        detector_profile.ProfileHook(passes=3).after_train(runner)


@pytest.mark.realdata
@pytest.mark.integration
def test_training_and_prediction_on_real_images(coco_root, tmp_path, capsys):
    small = ['model.backbone.arch=yocto', 'model.neck.in_channels=[16,32,64,128]']
    out = tmp_path / 'r.json'
    argv = ['mask_rcnn/selnext_t_3x_coco.py', '--data-root', str(coco_root), '--batch', '1']
    argv += ['--warmup', '0', '--passes', '1', '--work-dir', str(tmp_path / 'w')]
    argv += ['--json', str(out), '--top', '3', '--cfg-options', *small]
    assert call(detector_profile.main, argv) == 0
    text = capsys.readouterr().out
    assert '### training:' in text
    assert '### prediction:' in text
    profiles = json.loads(out.read_text())['profiles']
    for name, needed in (
        ('training', {'backbone.forward', 'rpn_head.loss_by_feat', 'optimizer.step'}),
        ('prediction', {'backbone.forward', 'roi_head.mask_head.predict_by_feat'}),
    ):
        assert {row['part'] for row in profiles[name]['parts']} >= needed
