"""SELNeXt with the fused block: equal to the equations, and the modules where they are needed."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from selnext_mm.analysis.feature_distance import feature_distance
from selnext_mm.analysis.gate_scales import gate_scales
from selnext_mm.models.backbones import SELNeXt, selnext_fast
from selnext_mm.models.backbones.selnext import ARCHS, SELNeXtBlock
from selnext_mm.ops.capabilities import has_fused_linear
from tests.models.backbones.test_selnext import oracle

TINY = dict(depths=(1, 1, 2, 1), channels=(16, 24, 32, 40))
MAPS = (0, 1, 2, 3)
pytestmark = pytest.mark.skipif(
    not has_fused_linear(torch.float32), reason='needs a torch with oneDNN on the CPU'
)


def randomize(model):
    """Weights that keep the magnitude of a signal, so that the branches count."""
    for parameter in model.parameters():
        fan = parameter[0].numel() if parameter.ndim > 1 else 4
        nn.init.normal_(parameter, std=fan**-0.5)
    return model


def build(arch=TINY, out_indices=MAPS, **kwargs):
    return randomize(SELNeXt(arch, out_indices=out_indices, **kwargs))


def twin(model, **kwargs):
    """A model with the same weights and other options."""
    other = SELNeXt(TINY, out_indices=model.out_indices, **kwargs)
    other.load_state_dict(model.state_dict())
    return other.train(model.training)


@pytest.fixture
def fused(monkeypatch):
    """The inputs of the fused operation, call by call."""
    calls = []

    def spy(plan, x, *args):
        calls.append(x)
        return real(plan, x, *args)

    real = selnext_fast.run_block
    monkeypatch.setattr(selnext_fast, 'run_block', spy)
    return calls


def errors(outs, exact):
    return [((a.double() - b).norm() / b.norm()).item() for a, b in zip(outs, exact, strict=True)]


@pytest.mark.parametrize('arch', sorted(ARCHS))
def test_every_arch_equals_the_equations(arch, fused):
    depths, channels = ARCHS[arch]
    if max(channels) > 400:
        depths = (1, 2, 1, 1)  # all widths, fewer repetitions
    model = build(dict(depths=depths, channels=channels)).eval()
    x = torch.randn(2, 3, 67, 101)
    with torch.no_grad():
        outs = model(x)
        deployed = model.switch_to_deploy()(x)
        exact = oracle(model.double(), x.double())
    assert len(fused) == 2 * sum(depths)
    assert max(errors(outs, exact)) < 1e-5
    assert max(errors(deployed, exact)) < 1e-5


@pytest.mark.parametrize('batch', [1, 4, 8])
@pytest.mark.parametrize('size', [(64, 64), (33, 47), (160, 96)])
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_outputs_and_gradients_equal_the_equations(batch, size, layout, fused):
    model = build().train()
    x = torch.randn(batch, 3, *size).to(memory_format=layout)
    outs = model(x)
    weights = [torch.randn_like(out) for out in outs]
    sum((o * w).sum() for o, w in zip(outs, weights, strict=True)).backward()
    assert len(fused) == 5
    double = copy.deepcopy(model).double()
    exact = oracle(double, x.double())
    loss = sum((o * w.double()).sum() for o, w in zip(exact, weights, strict=True))
    gradients = torch.autograd.grad(loss, list(double.parameters()))
    assert max(errors(outs, exact)) < 1e-5
    for (name, p), wanted in zip(model.named_parameters(), gradients, strict=True):
        assert ((p.grad.double() - wanted).norm() / wanted.norm()) < 1e-4, name
    with torch.no_grad():
        assert max(errors(model.eval()(x), exact)) < 1e-5
        assert max(errors(model.switch_to_deploy()(x), exact)) < 1e-5


@pytest.mark.parametrize(
    'kwargs',
    [dict(linear_pw_conv=False), dict(layer_scale_init_value=0), dict(mlp_ratio=3)],
    ids=str,
)
def test_variants_of_the_block_are_fused_too(kwargs, fused):
    model = build(**kwargs)
    x = torch.randn(2, 3, 64, 64)
    outs = model(x)
    assert len(fused) == 5
    sum(o.square().sum() for o in outs).backward()
    reference = twin(model, impl='reference', **kwargs)
    expected = reference(x)
    sum(o.square().sum() for o in expected).backward()
    assert len(fused) == 5
    for a, b in zip(outs, expected, strict=True):
        assert_close(a, b, rtol=1e-4, atol=1e-5)
    for (name, p), q in zip(model.named_parameters(), reference.parameters(), strict=True):
        assert ((p.grad - q.grad).norm() / q.grad.norm()) < 1e-4, name


def test_stochastic_depth_draws_the_same_branches():
    model = build(drop_path_rate=0.6).train()
    reference = twin(model, impl='reference', drop_path_rate=0.6)
    x = torch.randn(6, 3, 64, 64)
    results = []
    for net in (model, reference):
        torch.manual_seed(5)
        outs = net(x)
        sum(o.square().sum() for o in outs).backward()
        results.append((*outs, *(p.grad for p in net.parameters())))
    for a, b in zip(*results, strict=True):
        assert ((a - b).norm() / b.norm()) < 1e-4


def test_bfloat16_is_no_worse_than_the_modules(fused):
    if not has_fused_linear(torch.bfloat16):
        pytest.skip('needs oneDNN with bfloat16 on the CPU')
    model = build().eval()
    reference = twin(model, impl='reference')
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        exact = oracle(copy.deepcopy(model).double(), x.double())
        with torch.autocast('cpu', dtype=torch.bfloat16):
            fast, slow = model(x), reference(x)
            deployed = model.switch_to_deploy()(x)
    assert len(fused) == 10
    assert [o.dtype for o in fast] == [o.dtype for o in slow]
    for a, b, c in zip(
        errors(fast, exact), errors(deployed, exact), errors(slow, exact), strict=True
    ):
        assert max(a, b) <= 1.05 * c


@pytest.mark.parametrize(
    ('kwargs', 'copied'),
    [({}, True), (dict(impl='reference'), False), (dict(attention_cfg=None), False)],
)
def test_fused_blocks_get_the_stems_output_in_their_layout(kwargs, copied):
    model, seen = build(**kwargs), []
    first = model.downsample_layers[0]
    first[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    first.register_forward_hook(lambda *args: seen.append(args[2]))
    model(torch.randn(2, 3, 32, 48))
    images, maps = seen
    assert images.is_contiguous(memory_format=torch.channels_last) == copied
    if copied:
        assert maps.is_contiguous(memory_format=torch.channels_last)
    other = twin(model, **dict(kwargs, impl='reference'))
    x = torch.randn(1, 3, 33, 47)
    assert_close(model(x), other(x), rtol=1e-5, atol=1e-5)


def test_outputs_are_contiguous_in_both_implementations():
    x = torch.randn(2, 3, 64, 64).to(memory_format=torch.channels_last)
    for impl in ('auto', 'reference'):
        assert all(out.is_contiguous() for out in build(impl=impl)(x))


# --- wherever somebody has to see the modules, they are called -------------------------------


def with_other_attention():
    model = build(attention_cfg=dict(type='SqueezeExcitation'))
    return lambda x: model(x)


def with_norm():
    model = build(block_norm_cfg=dict(type='LN2d'))
    return lambda x: model(x)


def with_another_activation():
    model = build(act_cfg=dict(type='GELU', approximate='tanh'))
    return lambda x: model(x)


def with_checkpointing():
    model = build(with_cp=True)
    return lambda x: model(x)


def with_reference():
    return build(impl='reference')


def in_double():
    model = build().double()
    return lambda x: model(x.double())


def when_traced():
    model = build().eval()
    return lambda x: torch.jit.trace(model, x, check_trace=False)


def when_counted():
    model = build().eval()

    def run(x):
        with FlopCounterMode(display=False):
            model(x)

    return run


def with_hooks_on_all_modules():
    model = build()

    def run(x):
        handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
        model(x)
        handle.remove()

    return run


@pytest.mark.parametrize(
    'make',
    [
        *(with_other_attention, with_norm, with_another_activation, with_checkpointing),
        *(with_reference, in_double, when_traced, when_counted, with_hooks_on_all_modules),
    ],
)
def test_the_modules_compute_what_is_unusual(make, fused):
    make()(torch.randn(2, 3, 64, 64))
    assert fused == []


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


@pytest.mark.parametrize('part', ['depthwise_conv', 'act', 'attention', 'attention.norm'])
@pytest.mark.parametrize('kind', ['pre', 'after', 'backward', 'replaced'])
def test_a_hook_inside_a_block_sees_its_calls(part, kind, fused):
    model = build()
    module = model.stages[2][0].get_submodule(part)
    seen = []
    if kind == 'pre':
        module.register_forward_pre_hook(lambda *_: seen.append(1))
    elif kind == 'after':
        module.register_forward_hook(lambda *_: seen.append(1))
    elif kind == 'backward':
        module.register_full_backward_hook(lambda *_: seen.append(1))
    else:
        forward = module.forward
        module.forward = lambda x: (seen.append(1), forward(x))[1]
    if part == 'attention.norm' and kind != 'replaced':
        # The gate calls the norm's function, so that a hook on it never fires.
        pytest.skip('SELN does not call its norm as a module')
    sum(out.sum() for out in model(torch.randn(1, 3, 64, 64))).backward()
    assert len(fused) == 4  # the other blocks
    assert len(seen) == (0 if part == 'attention.norm' else 1)


def test_a_parametrised_layer_is_asked_for_its_weight(fused):
    model = build().eval()
    x = torch.randn(1, 3, 64, 64)
    plain = model.stages[3][0].pointwise_conv1.weight.detach().clone()
    parametrize.register_parametrization(model.stages[3][0].pointwise_conv1, 'weight', Doubled())
    (*_, out) = model(x)
    assert len(fused) == 4
    other = build().eval()
    state = model.state_dict()
    state['stages.3.0.pointwise_conv1.weight'] = 2 * plain
    other.load_state_dict({k: v for k, v in state.items() if 'parametrizations' not in k})
    assert_close(out, other(x)[-1], rtol=1e-4, atol=1e-5)


def test_a_block_of_ones_own_is_not_replaced(fused):
    class Loud(SELNeXtBlock):
        def _branch(self, x):
            return 2 * super()._branch(x)

    class LoudSELNeXt(SELNeXt):
        block_type = Loud

    loud = randomize(LoudSELNeXt(TINY, out_indices=MAPS))
    loud(torch.randn(1, 3, 64, 64))
    assert fused == []


def test_analyses_see_the_same_scales_and_maps():
    model = build().eval()
    reference = twin(model, impl='reference')
    x = [torch.randn(2, 3, 64, 64)]
    for a, b in zip(gate_scales(model, x), gate_scales(reference, x), strict=True):
        assert_close(a.after, b.after, rtol=1e-4, atol=1e-5)
        assert_close(a.before_std, b.before_std, rtol=1e-3, atol=1e-5)
    for place in ('expansion', 'gated', 'block'):
        rows = zip(
            feature_distance(model, x, place), feature_distance(reference, x, place), strict=True
        )
        assert all(a.mean == pytest.approx(b.mean, rel=1e-5) for a, b in rows)


# --- deployment ------------------------------------------------------------------------------


def test_a_deployed_model_keeps_its_state_dict():
    model = build()
    keys = {k: v.clone() for k, v in model.state_dict().items()}
    model.switch_to_deploy()
    model(torch.randn(1, 3, 64, 64))
    assert model.state_dict().keys() == keys.keys()
    assert all(torch.equal(v, keys[k]) for k, v in model.state_dict().items())


@torch.no_grad()
def test_weights_changed_after_deployment_are_used():
    model, other = build().switch_to_deploy(), build().eval()
    x = torch.randn(1, 3, 64, 64)
    before = model(x)
    model.load_state_dict(other.state_dict())
    after = model(x)
    for a, b, c in zip(after, other(x), before, strict=True):
        assert_close(a, b, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(a, c, rtol=1e-2, atol=1e-2)
    # Other storage and another dtype.
    exact = other.double()(x.double())
    for a, b in zip(model.double()(x.double()), exact, strict=True):
        assert_close(a, b)
    for a, b in zip(model.float()(x), exact, strict=True):
        assert_close(a, b.float(), rtol=1e-4, atol=1e-5)


def test_a_deployed_model_refuses_to_be_trained():
    model = build().switch_to_deploy()
    assert not model.training
    assert model.eval() is model
    with pytest.raises(RuntimeError, match=r'deployed.*Build the model anew'):
        model.train()
    with pytest.raises(RuntimeError, match='deployed'):
        nn.Sequential(model).train()


def test_a_deployed_model_still_gives_the_gradient_of_its_input(fused):
    model = build().switch_to_deploy()
    x = torch.randn(1, 3, 64, 64, requires_grad=True)
    model(x)[-1].sum().backward()
    assert fused == []
    expected = x.detach().requires_grad_()
    twin(model, impl='reference')(expected)[-1].sum().backward()
    assert_close(x.grad, expected.grad, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_deployed_model_can_be_copied_and_stored(fused):
    model = build().switch_to_deploy()
    x = torch.randn(1, 3, 64, 64)
    expected = model(x)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    stored = torch.load(buffer, weights_only=False)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), stored):
        before = len(fused)
        for a, b in zip(other(x), expected, strict=True):
            assert torch.equal(a, b)
        assert len(fused) == before + 5
        with pytest.raises(RuntimeError, match='deployed'):
            other.train()


def test_inference_mode_works():
    model = build().eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(x)
    with torch.inference_mode():
        built_inside = twin(model).switch_to_deploy()
        for net in (model, built_inside, copy.deepcopy(model).switch_to_deploy()):
            for _ in range(2):
                for a, b in zip(net(x), expected, strict=True):
                    assert_close(a, b, rtol=1e-4, atol=1e-5)


# --- training --------------------------------------------------------------------------------


def saved_bytes(model, x):
    """Bytes that the graph of a forward pass keeps, parameters and repetitions aside."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outs = model(x)
    assert all(out.requires_grad for out in outs)
    return sum(kept.values())


def test_a_third_of_convnexts_memory_is_kept_for_the_backward_pass():
    arch = dict(depths=(3, 3, 9, 3), channels=(32, 64, 128, 256))  # as T has them, a third as wide
    convnext = SELNeXt(arch, attention_cfg=None, block_norm_cfg=dict(type='LN2d'))
    x = torch.randn(2, 3, 128, 128)
    ours, theirs = saved_bytes(SELNeXt(arch), x), saved_bytes(convnext, x)
    assert ours < 0.35 * theirs
    assert ours > 0.05 * theirs  # the hooks have seen what the operation saves


def test_frozen_stages_train_the_rest(fused):
    model = build(frozen_stages=2).train()
    x = torch.randn(2, 3, 64, 64)
    outs = model(x)
    assert len(fused) == 5
    sum(o.square().sum() for o in outs).backward()
    reference = twin(model, impl='reference', frozen_stages=2)
    sum(o.square().sum() for o in reference(x)).backward()
    for (name, p), q in zip(model.named_parameters(), reference.named_parameters(), strict=True):
        assert (p.grad is None) == (q[1].grad is None), name
        if p.grad is not None:
            assert ((p.grad - q[1].grad).norm() / q[1].grad.norm()) < 1e-4, name


def test_training_under_autocast(fused):
    model = build().train()
    x = torch.randn(2, 3, 64, 64)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        outs = model(x)
    sum(o.float().square().mean() for o in outs).backward()
    assert len(fused) == 5
    reference = twin(model, impl='reference')
    with torch.autocast('cpu', dtype=torch.bfloat16):
        expected = reference(x)
    sum(o.float().square().mean() for o in expected).backward()
    assert [o.dtype for o in outs] == [o.dtype for o in expected]
    for (name, p), q in zip(model.named_parameters(), reference.parameters(), strict=True):
        assert ((p.grad - q.grad).norm() / q.grad.norm()) < 0.05, name


def test_data_parallel_training(tmp_path, fused):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1
    )
    try:
        model = build(drop_path_rate=0.9).train()
        x = torch.randn(1, 3, 64, 64)
        parallel = nn.parallel.DistributedDataParallel(model)
        for _ in range(3):  # a dropped branch must not look like an unused parameter
            sum(o.square().sum() for o in parallel(x)).backward()
        assert all(p.grad is not None for p in model.parameters())
        assert len(fused) == 15
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize('deployed', [False, True])
def test_compilation_has_no_graph_breaks(deployed):
    model = build().eval()
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = model(x)
        if deployed:
            model.switch_to_deploy()
        keys = list(model.state_dict())
        model.compile(backend='aot_eager', fullgraph=True)
        for a, b in zip(model(x), expected, strict=True):
            assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert list(model.state_dict()) == keys


@torch.no_grad()
def test_a_compiled_deployed_model_sees_changed_weights():
    model, other = build().switch_to_deploy(), build().eval()
    x = torch.randn(1, 3, 64, 64)
    model.compile(backend='aot_eager', fullgraph=True)
    before = model(x)
    blocks = [block for stage in model.stages for block in stage]
    packed = [block.packed.kept[1] for block in blocks]
    assert None not in packed
    model(x)
    assert all(block.packed.kept[1] is value for block, value in zip(blocks, packed, strict=True))
    model.load_state_dict(other.state_dict())
    for a, b, c in zip(model(x), other(x), before, strict=True):
        assert_close(a, b, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(a, c, rtol=1e-2, atol=1e-2)


@pytest.mark.slow
def test_compiled_training_equals_eager_training():
    model = build().train()
    eager = copy.deepcopy(model)
    model.compile(backend='aot_eager', fullgraph=True)
    x = torch.randn(2, 3, 64, 64)
    for net in (model, eager):
        sum(o.square().sum() for o in net(x)).backward()
    for (name, p), q in zip(model.named_parameters(), eager.parameters(), strict=True):
        assert ((p.grad - q.grad).norm() / q.grad.norm()) < 1e-4, name


def test_wrong_implementation_names_the_choices():
    with pytest.raises(ValueError, match=r"impl='fast'.*auto.*reference"):
        SELNeXt(TINY, impl='fast')
