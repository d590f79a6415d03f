"""Checkpoints of MMPretrain's classifiers in timm's models: the same logits."""

import pytest
import timm
import torch
from mmengine.registry import MODELS, DefaultScope
from torch.testing import assert_close

from selnext_mm.config.load import load_config
from selnext_mm.config_files import find_config
from selnext_mm.errors import UserError
from tests.timm.models import SMALL

pytest.importorskip('mmpretrain', reason='the other side of the comparison; install mmpretrain')

# model of timm -> config of ours, and what makes it smaller
CONFIGS = {
    'selnext_atto': ('cls/selnext_t_in1k.py', dict(backbone=dict(arch='atto'))),
    'patnet_t0': ('cls/patnet_t0_in1k.py', {}),
    'mobilenetv3_large_seln': ('cls/mobilenet_v3_l_seln_in1k.py', {}),
    'na_resnet50': ('cls/na_resnet50_in1k.py', {}),
    'na_mobilenetv2': ('cls/na_mobilenet_v2_in1k.py', {}),
}


@pytest.fixture(scope='module', params=SMALL)
def pair(request, tmp_path_factory):
    """(name, classifier of MMPretrain, its checkpoint as a run writes it)."""
    config, changes = CONFIGS[request.param]
    cfg = load_config(find_config(config))
    for part, options in changes.items():
        cfg.model[part].update(options)
    if request.param == 'selnext_atto':
        cfg.model.head.in_channels = 320
    cfg.model.head.num_classes = 10
    cfg.model.pop('train_cfg', None)
    torch.manual_seed(1)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model).eval()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith('running_var'):
                value.uniform_(0.5, 2)
            elif name.endswith(('running_mean', 'gamma', 'na.weight')):
                value.normal_(0, 0.3)
    path = tmp_path_factory.mktemp(request.param) / 'epoch_1.pth'
    torch.save(dict(meta=dict(epoch=1, iter=5), state_dict=model.state_dict()), path)
    return request.param, model, path


def test_a_checkpoint_of_a_run_gives_the_same_logits(pair):
    name, theirs, path = pair
    overlay = dict(file=str(path), num_classes=10)
    ours = timm.create_model(name, pretrained=True, num_classes=10, pretrained_cfg_overlay=overlay)
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        logits = theirs(x, mode='tensor')
        assert_close(ours.eval()(x), logits, rtol=1e-4, atol=1e-4)


def test_names_are_those_of_mmpretrain_for_our_own_classes(pair):
    name, theirs, _ = pair
    ours = timm.create_model(name, num_classes=10)
    same = set(ours.state_dict()) == set(theirs.state_dict())
    assert same == (not name.startswith('na_'))


def test_other_classes_and_channels_start_from_the_same_weights(pair):
    name, theirs, path = pair
    overlay = dict(file=str(path), num_classes=10)
    ours = timm.create_model(
        name, pretrained=True, num_classes=3, in_chans=1, pretrained_cfg_overlay=overlay
    )
    first = ours.default_cfg['first_conv']
    weight = theirs.state_dict()
    key = next(k for k in weight if weight[k].ndim == 4)
    stem = ours.state_dict()[f'{first}.weight']
    assert_close(stem, weight[key].sum(1, keepdim=True))
    assert ours.get_classifier().out_features == 3


def test_backbone_weights_alone_leave_the_head_as_it_is(tmp_path):
    from selnext_mm.models import SELNeXt
    from selnext_mm.timm.weights import classifier_weights

    backbone = SELNeXt('atto')
    model = timm.create_model('selnext_atto', num_classes=2)
    state = classifier_weights(backbone.state_dict(), model)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert (missing, unexpected) == (['head.fc.weight', 'head.fc.bias'], [])
    with pytest.raises(UserError, match='contains no weights'):
        classifier_weights(dict(epoch=1), model)


def test_weights_of_another_model_are_told_by_their_number():
    from selnext_mm.timm.weights import na_mobilenetv2_weights

    model = timm.create_model('na_mobilenetv2', num_classes=2)
    state = {f'backbone.{i}': torch.zeros(1) for i in range(3)}
    words = r'3 tensors .*na_mobilenetv2 has \d+; name a classifier of NAMobileNetV2'
    with pytest.raises(UserError, match=words):
        na_mobilenetv2_weights(state, model)
