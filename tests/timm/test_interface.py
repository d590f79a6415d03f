"""What timm and its users ask of a model: forward, backward, features, tracing, export.

Values are compared here. timm's own tests, which its wheel does not contain, are run by
``test_timms_own.py`` where its source distribution is at hand.
"""

import re

import pytest
import timm
import torch
from timm.optim import create_optimizer_v2
from timm.utils import reparameterize_model
from torch.testing import assert_close

from tests.timm.models import SMALL

SIZE = 64
OURS = ('selnext_atto', 'patnet_t0', 'mobilenetv3_large_seln')
each_small = pytest.mark.parametrize('name', SMALL)


def build(name, **kwargs):
    return timm.create_model(name, **{'num_classes': 10, **kwargs}).eval()


@each_small
def test_forward_is_finite_and_in_parts_the_same(name):
    model = build(name)
    x = torch.rand(2, 3, SIZE, SIZE)
    with torch.no_grad():
        y = model(x)
        assert y.shape == (2, 10)
        assert y.isfinite().all()
        assert_close(model.forward_head(model.forward_features(x)), y, rtol=0, atol=0)


@each_small
def test_every_parameter_gets_a_gradient(name):
    model = build(name, drop_path_rate=0.0).train()
    model(torch.rand(2, 3, SIZE, SIZE)).mean().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@each_small
def test_features_are_the_maps_on_the_way_to_the_logits(name):
    model = build(name)
    features = build(name, features_only=True, num_classes=0)
    state = {re.sub(r'^', 'model.', k): v for k, v in model.state_dict().items()}
    own = features.state_dict()
    source = state if next(iter(own)) in state else model.state_dict()
    features.load_state_dict({k: source[k] for k in own})
    x = torch.rand(2, 3, SIZE, SIZE)
    with torch.no_grad():
        maps = features(x)
        final, all_maps = model.forward_intermediates(x)
        assert len(maps) == len(all_maps)
        for a, b in zip(maps, all_maps, strict=True):
            assert_close(a, b, rtol=0, atol=0)
        if name != 'na_mobilenetv2':  # whose last convolution comes after the last map
            assert_close(final, maps[-1], rtol=0, atol=0)
            early = model.forward_intermediates(
                x, indices=[1], stop_early=True, intermediates_only=True
            )
            assert_close(early[0], maps[1], rtol=0, atol=0)
        assert_close(model.forward_features(x), final, rtol=1e-5, atol=1e-6)


@each_small
def test_gradient_checkpointing_changes_no_gradient(name):
    model = build(name, drop_path_rate=0.0)
    x = torch.rand(2, 3, SIZE, SIZE)
    gradients = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        model(x).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for a, b in zip(*gradients, strict=True):
        assert_close(a, b, rtol=1e-3, atol=1e-5)
    if name in OURS:
        assert any(getattr(m, 'with_cp', False) for m in model.modules())


@pytest.mark.slow
@each_small
def test_traced_and_exported_programs_give_the_same(name):
    model = build(name)
    x, other = torch.rand(2, 3, SIZE, SIZE), torch.rand(2, 3, SIZE, SIZE)
    with torch.no_grad():
        expected = model(other)
        traced = torch.jit.trace(model, x)
        assert_close(traced(other), expected, rtol=1e-4, atol=1e-5)
        exported = torch.export.export(model, (x,)).module()
        assert_close(exported(other), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', OURS)
def test_the_optimizer_gets_smaller_rates_towards_the_stem(name):
    model = build(name)
    optimizer = create_optimizer_v2(model, opt='adamw', lr=1.0, weight_decay=0.05, layer_decay=0.5)
    scale = {id(p): group['lr_scale'] for group in optimizer.param_groups for p in group['params']}
    names = dict(model.named_parameters())
    first, last = model.default_cfg['first_conv'], model.default_cfg['classifier']
    assert scale[id(names[f'{last}.weight'])] == 1
    assert scale[id(names[f'{first}.weight'])] == min(scale.values()) < 0.1


def test_drop_path_and_dropout_reach_the_layers():
    model = build('selnext_atto', drop_path_rate=0.3, drop_rate=0.5)
    rates = [m.rate for m in model.modules() if type(m).__name__ == 'DropPath']
    assert rates[-1] == pytest.approx(0.3)
    head = model.head.train()
    dropped = head(torch.ones(1, 320))
    assert not torch.equal(dropped, head(torch.ones(1, 320)))
    assert torch.equal(head.eval()(torch.ones(1, 320)), head(torch.ones(1, 320)))


def test_norm_of_the_last_map():
    model = build('selnext_atto', num_classes=0, global_pool='')
    x = torch.rand(1, 3, SIZE, SIZE)
    with torch.no_grad():
        maps = model.forward_intermediates(x, norm=True, intermediates_only=True)
        plain = model.forward_intermediates(x, intermediates_only=True)
        assert_close(maps[-1], model.backbone.norm3(plain[-1]))
        assert_close(model(x), maps[-1])


def test_reparameterize_leaves_the_model_as_it_is():
    model = build('selnext_atto')
    x = torch.rand(1, 3, SIZE, SIZE)
    with torch.no_grad():
        assert_close(reparameterize_model(model)(x), model(x))


def test_names_of_the_command_line_do_not_reach_timm_without_it(tmp_path):
    from tests.framework.without import run_without

    result = run_without(('timm',), 'import selnext_mm.timm', cwd=tmp_path)
    assert "UserError: selnext_mm.timm needs timm, which is not installed: pip install 'timm" in (
        result.stderr
    )


def test_works_without_openmmlab(tmp_path):
    from tests.framework.without import OPENMMLAB, run_without

    # torchvision of another build loads only with mmengine's work-arounds: they are ours.
    code = """
from selnext_mm import compat
compat.declare_torchvision_ops()
import selnext_mm.timm, sys, timm, torch
for name in ('selnext_atto', 'na_mobilenetv2'):
    print(tuple(timm.create_model(name, num_classes=3).eval()(torch.rand(1, 3, 32, 32)).shape))
print(sorted({n.partition('.')[0] for n in sys.modules} & {'mmengine', 'mmcv', 'mmdet'}))
"""
    result = run_without(OPENMMLAB, code, cwd=tmp_path)
    assert result.stdout == '(1, 3)\n(1, 3)\n[]\n', result.stderr
