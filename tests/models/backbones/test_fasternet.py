"""FasterNet against timm's own model, and the counts that the PATNet paper prints for it."""

import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch.testing import assert_close

from selnext_mm.analysis.complexity import build_model, measure_model
from selnext_mm.analysis.papers.printed import meets
from selnext_mm.config_files import find_config
from selnext_mm.errors import UserError
from selnext_mm.models.backbones import FasterNet

timm = pytest.importorskip('timm', reason="pip install 'timm>=1.0.17'")
ARCHS = ('t0', 't1', 't2', 's', 'm', 'l')
# arch: parameters (M) and FLOPs (G), "Partial Convolution Meets Visual Attention", Table 9
TABLE_9 = {
    't0': ('3.9', '0.34'),
    't1': ('7.6', '0.85'),
    't2': ('15.0', '1.91'),
    's': ('31.1', '4.56'),
    'm': ('53.5', '8.74'),
    'l': ('93.5', '15.52'),
}


def classifier(arch):
    return build_model(Config.fromfile(find_config(f'cls/fasternet_{arch}_in1k.py'))).eval()


def names_of_timm(state):
    """Our classifier's names of timm's state dict."""
    names = {'conv_head': 'neck.conv', 'classifier': 'head.fc'}
    return {
        '.'.join((names.get(k.split('.')[0], f'backbone.{k.split(".")[0]}'), *k.split('.')[1:])): v
        for k, v in state.items()
    }


@pytest.mark.parametrize('arch', ['t0', 't2'])
def test_the_classifier_is_timms(arch):
    pytest.importorskip('mmpretrain')
    theirs = timm.create_model(f'fasternet_{arch}')
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        theirs.train()(x)  # statistics other than 0 and 1
        ours = classifier(arch)
        state = names_of_timm(theirs.state_dict())
        missing, unexpected = ours.load_state_dict(state, strict=False)
        assert (unexpected, [k for k in missing if 'data_preprocessor' not in k]) == ([], [])
        assert_close(ours(x, mode='tensor'), theirs.eval()(x))


@pytest.mark.parametrize('arch', ARCHS)
def test_counts_are_timms_and_the_printed_ones(arch):
    pytest.importorskip('mmpretrain')
    result = measure_model(classifier(arch))
    theirs = timm.create_model(f'fasternet_{arch}')
    assert result.params == sum(p.numel() for p in theirs.parameters())
    params, flops = TABLE_9[arch]
    # 31.18 M is printed 31.1, cut off.
    assert meets(result.params, params, 'params') or (arch, result.params) == ('s', 31_181_032)
    # Its counter has the batch norms as well: up to 0.5 % more.
    assert result.macs / 1e9 == pytest.approx(float(flops), rel=0.005, abs=0.005)


# Table 2 of the same paper.
@pytest.mark.parametrize(('arch', 'printed'), [('s', '49.0'), ('m', '71.2'), ('l', '110.9')])
def test_the_detectors_have_the_printed_parameters(arch, printed):
    pytest.importorskip('mmdet')
    backbone = FasterNet(arch, out_indices=(0, 1, 2, 3))
    cfg = Config.fromfile(find_config('mask_rcnn/patnet_s_1x_coco.py'))
    cfg.model.backbone = dict(type='FasterNet', arch=arch, out_indices=(0, 1, 2, 3))
    cfg.model.neck.in_channels = list(backbone.channels)
    model = build_model(cfg).eval()
    assert meets(sum(p.numel() for p in model.parameters()), printed, 'params')


def test_each_output_has_its_norm_and_the_next_stage_gets_it_without():
    arch = dict(depths=(1, 1, 1, 1), embed_dim=8)
    plain = FasterNet(arch, out_indices=(0, 1, 2, 3), output_norm=False).eval()
    normed = FasterNet(arch, out_indices=(0, 1, 2, 3)).eval()
    normed.load_state_dict(plain.state_dict(), strict=False)
    for i in range(4):
        torch.nn.init.normal_(getattr(normed, f'norm{i}').weight)
    x = torch.randn(1, 3, 64, 64)
    for i, (out, raw) in enumerate(zip(normed(x), plain(x), strict=True)):
        norm = getattr(normed, f'norm{i}')
        assert_close(out, raw * norm.weight[:, None, None] / (1 + norm.eps) ** 0.5)
    assert not hasattr(FasterNet(arch), 'norm3')


def test_stochastic_depth_rises_linearly_over_the_blocks():
    model = FasterNet(dict(depths=(1, 2, 1, 1), embed_dim=8), drop_path_rate=0.2)
    blocks = [block for stage in model.stages for block in stage.blocks]
    rates = [getattr(block.drop_path, 'drop_prob', 0.0) for block in blocks]
    assert rates == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2])


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(arch='t3'), r"arch='t3'; expected one of \['t0', 't1', 't2', 's', 'm', 'l'\]"),
        (dict(arch=dict(depths=(1,))), "keys 'depths' and 'embed_dim'"),
        (dict(frozen_stages=5), 'expected 0..4'),
        (dict(out_indices=(0,), frozen_stages=2), 'expected 0..1'),
        (dict(out_indices=(4,)), 'expected increasing stage indices'),
    ],
)
def test_wrong_arguments_name_the_choices(arguments, message):
    with pytest.raises(ValueError, match=message):
        FasterNet(**arguments)


def test_without_timm_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm.models', None)
    with pytest.raises(UserError, match=r"pip install 'timm>=1\.0\.17'"):
        MODELS.build(dict(type='FasterNet'))
