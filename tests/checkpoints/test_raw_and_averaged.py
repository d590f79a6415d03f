"""Which weights of a run with EMAHook a detector starts from; what becomes of its final norm."""

import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.registry import MODELS
from torch import nn

from selnext_mm.__main__ import main
from selnext_mm.checkpoints.files import load_file, take_weights
from selnext_mm.checkpoints.fit import classifier_for_maps
from selnext_mm.errors import UserError
from selnext_mm.models.backbones.selnext import SELNeXt

ARCH = dict(depths=(1, 1, 2, 1), channels=(16, 24, 32, 40))
FINAL = ('norm3.weight', 'norm3.bias')


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = SELNeXt(ARCH)
        self.head = nn.Module()
        self.head.fc = nn.Linear(40, 5)


class Run:
    """What EMAHook asks of a runner."""

    def __init__(self, model):
        self.model, self.iter, self.epoch, self._resume = model, 0, 0, False


@pytest.fixture
def classifier(tmp_path):
    """(file, raw weights, averaged weights) of a run, written by mmengine's own hook."""
    model = Classifier()
    run, hook = Run(model), EMAHook(momentum=0.5)
    hook.before_run(run)
    for _ in range(2):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        hook.after_train_iter(run, 0)
    raw = {k: v.clone() for k, v in model.state_dict().items()}
    averaged = {k: v.clone() for k, v in hook.ema_model.module.state_dict().items()}
    checkpoint = dict(meta={}, state_dict=model.state_dict())
    hook.before_save_checkpoint(run, checkpoint)
    torch.save(checkpoint, tmp_path / 'run.pth')
    assert not torch.equal(raw['head.fc.weight'], averaged['head.fc.weight'])
    return tmp_path / 'run.pth', raw, averaged


def detector(path, **kwargs):
    init_cfg = dict(type='Pretrained', checkpoint=str(path), prefix='backbone.', **kwargs)
    return MODELS.build(
        dict(type='SELNeXt', arch=ARCH, out_indices=(0, 1, 2, 3), init_cfg=init_cfg)
    )


def assert_holds(backbone, state):
    for name, value in backbone.state_dict().items():
        if not name.startswith('norm'):
            assert torch.equal(value, state[f'backbone.{name}']), name


@pytest.mark.parametrize('weights', [None, 'raw', 'ema'])
def test_a_detector_starts_from_the_raw_weights_unless_told_otherwise(classifier, weights):
    path, raw, averaged = classifier
    backbone = detector(path, **(dict(weights=weights) if weights else {}))
    message = backbone.load_pretrained()
    assert_holds(backbone, averaged if weights == 'ema' else raw)
    assert ('averaged' in message) == (weights == 'ema')
    assert ('raw weights' in message) == (weights != 'ema')


def test_averaged_weights_that_are_not_there_are_an_error(classifier, tmp_path):
    torch.save(dict(state_dict=classifier[1]), tmp_path / 'plain.pth')
    backbone = detector(tmp_path / 'plain.pth')
    backbone.load_pretrained()
    assert_holds(backbone, classifier[1])
    with pytest.raises(UserError, match=r"weights='ema'.*no averaged weights.*leave it out"):
        detector(tmp_path / 'plain.pth', weights='ema').load_pretrained()
    with pytest.raises(UserError, match=r"weights='averaged'.*'raw' or 'ema'"):
        detector(tmp_path / 'plain.pth', weights='averaged').load_pretrained()


@pytest.mark.parametrize('weights', [None, 'raw', 'ema'])
def test_convert_takes_them_from_our_own_classifiers(classifier, tmp_path, capsys, weights):
    path, raw, averaged = classifier
    options = ['--weights', weights] if weights else []
    out = tmp_path / 'backbone.pth'
    arguments = [str(path), str(out), '--from', 'selnext_mm', '--to', 'detection']
    assert main(['convert', *arguments, *options]) == 0
    text = capsys.readouterr().out
    assert ('averaged' if weights == 'ema' else 'raw') in text.splitlines()[0]
    assert 'dropped   2: final norm of the classifier' in text
    state = load_file(out)['state_dict']
    expected = averaged if weights == 'ema' else raw
    for name, value in state.items():
        assert torch.equal(value, expected[name]), name
    converted, direct = detector(out), detector(path, weights=weights or 'raw')
    for backbone in (converted, direct):
        backbone.init_weights()
        assert_holds(backbone, expected)
    for name, value in direct.state_dict().items():
        assert torch.equal(value, converted.state_dict()[name]), name


def test_the_final_norm_of_a_classifier_does_not_become_that_of_the_last_map(classifier):
    backbone = detector(classifier[0])
    message = backbone.load_pretrained()
    assert (backbone.norm3.weight == 1).all()
    assert (backbone.norm3.bias == 0).all()
    assert "the file's final norm is left out" in message


def test_it_stays_in_a_classifier_and_the_norms_of_a_detector_stay_in_one(classifier, tmp_path):
    path, raw, _ = classifier
    init_cfg = dict(type='Pretrained', checkpoint=str(path), prefix='backbone.')
    model = SELNeXt(ARCH, init_cfg=init_cfg)
    model.load_pretrained()
    for name in FINAL:
        assert torch.equal(model.state_dict()[name], raw[f'backbone.{name}'])
    trained = SELNeXt(ARCH, out_indices=(0, 1, 2, 3))
    state = {f'backbone.{k}': torch.randn_like(v) for k, v in trained.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'detector.pth')
    backbone = detector(tmp_path / 'detector.pth')
    assert 'final norm' not in backbone.load_pretrained()
    for name in FINAL:
        assert torch.equal(backbone.state_dict()[name], state[f'backbone.{name}'])


def test_a_detector_of_the_last_map_alone_does_not_take_it_either(classifier, tmp_path):
    """DETR's backbone has one norm, too; the head in the file tells that it is a classifier's."""
    init_cfg = dict(type='Pretrained', checkpoint=str(classifier[0]), prefix='backbone.')
    backbone = SELNeXt(ARCH, out_indices=(3,), init_cfg=init_cfg)
    backbone.load_pretrained()
    assert (backbone.norm3.weight == 1).all()
    state = {f'backbone.{k}': v + 2 for k, v in backbone.state_dict().items()}
    torch.save(dict(state_dict={**state, 'bbox_head.fc.weight': torch.ones(1)}), tmp_path / 'd.pth')
    init_cfg['checkpoint'] = str(tmp_path / 'd.pth')
    again = SELNeXt(ARCH, out_indices=(3,), init_cfg=init_cfg)
    again.load_pretrained()
    assert (again.norm3.weight == 3).all()


def test_a_whole_model_leaves_it_out_as_well(classifier):
    """load_from, whose message and check before a run go by the same function."""
    raw = classifier[1]
    maps = SELNeXt(ARCH, out_indices=(0, 1, 2, 3)).state_dict()
    own = {f'backbone.{k}': v for k, v in maps.items()}
    state, final = classifier_for_maps({**own, 'rpn_head.conv.bias': torch.ones(1)}, raw)
    assert sorted(final) == sorted(f'backbone.{name}' for name in FINAL)
    assert state == {k: v for k, v in raw.items() if k not in final}
    assert classifier_for_maps(raw, raw) == (raw, [])
    assert classifier_for_maps(own, own) == (own, [])
    # One map: the heads tell.
    earlier = tuple(f'backbone.norm{i}.' for i in range(3))
    one = {k: v for k, v in own.items() if not k.startswith(earlier)}
    assert classifier_for_maps(one, raw)[1] == final
    assert classifier_for_maps(one, one) == (one, [])


def test_convert_keeps_a_classifier_whole(classifier, tmp_path):
    path, raw, _ = classifier
    assert main(['convert', str(path), str(tmp_path / 'c.pth'), '--from', 'selnext_mm']) == 0
    state = load_file(tmp_path / 'c.pth')['state_dict']
    assert state.keys() == raw.keys()
    assert all(torch.equal(state[k], raw[k]) for k in raw)


def test_convert_takes_the_other_backbones_by_their_names(tmp_path, capsys):
    model = nn.Module()
    model.backbone = MODELS.build(dict(type='PATNet', arch='t0'))
    model.neck = nn.Module()
    model.neck.conv = nn.Conv2d(256, 1280, 1, bias=False)
    model.head = nn.Module()
    model.head.fc = nn.Linear(1280, 5)
    state = model.state_dict()
    torch.save(dict(state_dict=state), tmp_path / 'in.pth')
    arguments = ['convert', str(tmp_path / 'in.pth'), str(tmp_path / 'out.pth'), '--from']
    assert main([*arguments, 'selnext_mm', '--to', 'detection']) == 0
    assert 'dropped   3: classification neck and head' in capsys.readouterr().out
    backbone = MODELS.build(
        dict(
            type='PATNet',
            arch='t0',
            out_indices=(0, 1, 2, 3),
            init_cfg=dict(
                type='Pretrained', checkpoint=str(tmp_path / 'out.pth'), prefix='backbone.'
            ),
        )
    )
    backbone.init_weights()
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(backbone.state_dict()[name], value), name


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(extra=torch.zeros(1)), 'extra'),
        ({'backbone.stages.0.0.depthwise_conv.bias': None}, 'depthwise_conv.bias'),
    ],
)
def test_what_is_no_classifier_of_ours_is_refused(classifier, tmp_path, capsys, change, message):
    state = {**classifier[1], **change}
    state = {k: v for k, v in state.items() if v is not None}
    torch.save(dict(state_dict=state), tmp_path / 'in.pth')
    out = tmp_path / 'o.pth'
    assert main(['convert', str(tmp_path / 'in.pth'), str(out), '--from', 'selnext_mm']) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_weights_of_official_files_go_by_the_same_words(classifier):
    _, raw, averaged = classifier
    both = dict(model=raw, model_ema=averaged)
    assert take_weights(both, 'raw')[0] == raw
    assert take_weights(both, 'ema')[0] == averaged
    assert take_weights(dict(model_ema=averaged), 'raw')[0] == averaged
    with pytest.raises(UserError, match='--weights ema: the checkpoint has no averaged weights'):
        take_weights(dict(model=raw), 'ema')
