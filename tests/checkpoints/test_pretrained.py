import pytest
import torch

from selnext_mm.errors import UserError
from selnext_mm.models.backbones.selnext import SELNeXt

TINY = dict(depths=(1, 1, 2, 1), channels=(16, 24, 32, 40))


def classifier_state():
    model = SELNeXt(TINY)
    state = {f'backbone.{k}': torch.randn_like(v) for k, v in model.state_dict().items()}
    return {k: v for k, v in state.items() if 'norm3' not in k}


def detection(path, **kwargs):
    init_cfg = dict(type='Pretrained', checkpoint=str(path), prefix='backbone.', **kwargs)
    return SELNeXt(TINY, out_indices=(0, 1, 2, 3), init_cfg=init_cfg)


def test_backbone_weights_are_loaded_and_counted(tmp_path):
    state = classifier_state()
    torch.save(dict(state_dict=state), tmp_path / 'w.pth')
    model = detection(tmp_path / 'w.pth')
    count = len(state)
    assert f'loaded {count} of {count} tensors' in model.load_pretrained()
    model.init_weights()
    for key, value in state.items():
        assert torch.equal(model.state_dict()[key.removeprefix('backbone.')], value)
    # New in detection, at their initial values.
    assert (model.norm0.weight == 1).all()


@pytest.mark.parametrize(('stages', 'left'), [(0, 0), (1, 6), (4, 30)])
def test_frozen_tensors_that_no_file_has_are_named(stages, left, tmp_path, monkeypatch):
    """A ConvNeXt has no gates: those of frozen stages would keep random values unsaid."""
    said = []
    monkeypatch.setattr('selnext_mm.checkpoints.pretrained.print_log', lambda t, *_: said.append(t))
    state = {k: v for k, v in classifier_state().items() if 'attention' not in k}
    torch.save(dict(state_dict=state), tmp_path / 'w.pth')
    init = dict(checkpoint=str(tmp_path / 'w.pth'), prefix='backbone.', min_loaded=0)
    SELNeXt(TINY, frozen_stages=stages, init_cfg=dict(type='Pretrained', **init)).init_weights()
    assert len(said) == bool(left)
    if left:
        assert f'{left} tensors of the frozen stages (stages.0.0.attention.' in said[0]
        assert 'keep their initial values; freeze fewer stages' in said[0]


def test_training_again_does_not_load_again(tmp_path):
    """The runner calls init_weights once more before it trains."""
    torch.save(dict(state_dict=classifier_state()), tmp_path / 'w.pth')
    model = detection(tmp_path / 'w.pth')
    model.init_weights()
    with torch.no_grad():
        model.stages[0][0].gamma.fill_(7)
    model.init_weights()
    assert (model.stages[0][0].gamma == 7).all()


def test_misnamed_weights_are_an_error(tmp_path):
    state = {k.replace('pointwise', 'pw'): v for k, v in classifier_state().items()}
    torch.save(dict(state_dict=state), tmp_path / 'w.pth')
    with pytest.raises(UserError, match=r'loaded \d+ of \d+ .*missing: .*pointwise_conv1.*95%'):
        detection(tmp_path / 'w.pth').init_weights()
    detection(tmp_path / 'w.pth', min_loaded=0).init_weights()


def test_another_arch_is_an_error(tmp_path):
    state = {f'backbone.{k}': v for k, v in SELNeXt('atto').state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'w.pth')
    with pytest.raises(UserError, match='of another shape'):
        detection(tmp_path / 'w.pth').init_weights()


def test_a_wrong_prefix_shows_the_keys(tmp_path):
    torch.save(dict(state_dict=SELNeXt(TINY).state_dict()), tmp_path / 'w.pth')
    with pytest.raises(UserError, match=r"prefix='backbone\.'.*downsample_layers"):
        detection(tmp_path / 'w.pth').init_weights()


def test_none_means_random_weights():
    model = SELNeXt(TINY, init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.'))
    model.init_weights()
    assert model.stages[2][0].pointwise_conv1.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert 'random weights' in model.load_pretrained()
