"""The fused block, its gradient and its choice of kernels against the equations in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import forward_ad
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from selnext_mm.ops import gelu_linear
from selnext_mm.ops.capabilities import has_fused_linear
from selnext_mm.ops.packed import PackedOnce
from selnext_mm.ops.seln_block import cpu_backward, cpu_forward, dispatch
from selnext_mm.ops.seln_block.dispatch import plan_block, seln_block
from selnext_mm.ops.seln_block.equations import BlockWeights, block_reference
from tests.oracles.selnext import block as block_oracle

NAMES = (
    *('dwconv.weight', 'dwconv.bias', 'pwconv1.weight', 'pwconv1.bias'),
    *('norm.conv_reduce.weight', 'norm.conv_reduce.bias'),
    *('norm.conv_expand.weight', 'norm.conv_expand.bias', 'norm.gate.weight', 'norm.gate.bias'),
    *('pwconv2.weight', 'pwconv2.bias', 'gamma'),
)
needs_onednn = pytest.mark.skipif(
    not has_fused_linear(torch.float32), reason='needs a torch with oneDNN on the CPU'
)
needs_onednn_bf16 = pytest.mark.skipif(
    not has_fused_linear(torch.bfloat16), reason='needs oneDNN with bfloat16 on the CPU'
)


def weights(channels=16, kernel=7, ratio=4, requires_grad=False):
    """Weights that keep the magnitude of a signal, so that every term counts."""
    wide = ratio * channels
    hidden = max(4, wide // 16)  # with one, ReLU may leave nothing

    def draw(*shape):
        fan = shape[-1] if len(shape) == 2 else kernel**2 if len(shape) == 4 else 4
        return (torch.randn(shape) * fan**-0.5).requires_grad_(requires_grad)

    return BlockWeights(
        *(draw(channels, 1, kernel, kernel), draw(channels), draw(wide, channels), draw(wide)),
        *(draw(hidden, wide), draw(hidden), draw(wide, hidden), draw(wide), draw(wide)),
        *(draw(wide), draw(channels, wide), draw(channels), draw(channels)),
    )


def oracle(x, w, keep=None):
    x = x.double()
    state = {f'b.{name}': t.double() for name, t in zip(NAMES, w, strict=True)}
    out = block_oracle(state, 'b', x)
    return out if keep is None else x + keep.double().view(-1, 1, 1, 1) * (out - x)


def error(got, exact):
    return ((got.double() - exact).norm() / exact.norm()).item()


def layouts(x):
    """One image batch in the memory layouts in which it may arrive."""
    wide = torch.zeros(x.shape[0], x.shape[1], x.shape[2] + 2, x.shape[3] + 3)
    window = wide[:, :, 1:-1, 2:-1]
    window.copy_(x)
    return {
        'contiguous': x.contiguous(),
        'channels_last': x.contiguous(memory_format=torch.channels_last),
        'window': window,
    }


def both_passes(function, x, w, out_grad, *args):
    """Output and the gradients of x and of all weights."""
    x = x.detach().requires_grad_()
    w = BlockWeights(*(t.detach().requires_grad_() for t in w))
    out = function(x, w, *args)
    return out, torch.autograd.grad(out, (x, *w), out_grad.to(out.dtype))


@needs_onednn
@pytest.mark.parametrize('batch', [1, 2, 5, 8])
@pytest.mark.parametrize('size', [(13, 9), (7, 7), (2, 3), (1, 1)])
def test_forward_and_gradient_equal_the_equations(batch, size):
    w, x = weights(), torch.randn(batch, 16, *size)
    out_grad = torch.randn_like(x)
    assert plan_block(x, w)[:2] == ('cpu', torch.float32)
    out, gradients = both_passes(seln_block, x, w, out_grad)
    exact, exact_gradients = both_passes(oracle, x, w, out_grad)
    assert error(out, exact) < 1e-6
    for name, got, wanted in zip(('x', *NAMES), gradients, exact_gradients, strict=True):
        assert error(got, wanted) < 1e-4, name
    with torch.no_grad():
        assert error(seln_block(x, w), exact) < 1e-6


@needs_onednn
@pytest.mark.parametrize('positions_per_chunk', [1, 5, 40, 1000])
@pytest.mark.parametrize('size', [(9, 7), (3, 4)])
def test_the_size_of_the_chunks_does_not_matter(monkeypatch, positions_per_chunk, size):
    w, x = weights(), torch.randn(3, 16, *size)
    out_grad = torch.randn_like(x)
    for module in (cpu_forward, cpu_backward):
        monkeypatch.setattr(module, 'CHUNK_BYTES', positions_per_chunk * 64 * 4)
    out, gradients = both_passes(seln_block, x, w, out_grad)
    exact, exact_gradients = both_passes(oracle, x, w, out_grad)
    assert error(out, exact) < 1e-6
    for name, got, wanted in zip(('x', *NAMES), gradients, exact_gradients, strict=True):
        assert error(got, wanted) < 1e-4, name


def check_layouts(function, layout, grad_layout):
    """Output and gradients of a block for an input and a gradient in these layouts."""
    w, x, out_grad = weights(), torch.randn(2, 16, 6, 9), torch.randn(2, 16, 6, 9)
    exact, exact_gradients = both_passes(oracle, x, w, out_grad)
    leaf = layouts(x)[layout].requires_grad_()
    w = BlockWeights(*(t.requires_grad_() for t in w))
    out = function(leaf, w)
    gradients = torch.autograd.grad(out, (leaf, *w), layouts(out_grad)[grad_layout])
    assert error(out, exact) < 1e-6
    assert out.is_contiguous(memory_format=torch.channels_last)
    for name, got, wanted in zip(('x', *NAMES), gradients, exact_gradients, strict=True):
        assert error(got, wanted) < 1e-4, name


@needs_onednn
@pytest.mark.parametrize('layout', ['contiguous', 'channels_last', 'window'])
@pytest.mark.parametrize('grad_layout', ['contiguous', 'channels_last', 'window'])
def test_the_memory_layout_does_not_matter(layout, grad_layout):
    check_layouts(seln_block, layout, grad_layout)


@needs_onednn
@pytest.mark.parametrize(
    'keep', [[0, 1.25, 0, 1.25, 1.25], [1.25] * 5, [0] * 5, [0, 0, 0, 0, 2.0]], ids=str
)
def test_dropped_branches_are_left_out_exactly(keep):
    keep = torch.tensor(keep, dtype=torch.float32)
    w, x, out_grad = weights(), torch.randn(5, 16, 6, 5), torch.randn(5, 16, 6, 5)
    out, gradients = both_passes(seln_block, x, w, out_grad, 1e-5, keep)
    exact, exact_gradients = both_passes(oracle, x, w, out_grad, keep)
    assert error(out, exact) < 1e-6
    assert torch.equal(out[keep == 0], x[keep == 0])
    for name, got, wanted in zip(('x', *NAMES), gradients, exact_gradients, strict=True):
        if keep.any() or name == 'x':
            assert error(got, wanted) < 1e-4, name
        else:
            assert not got.any()
    with torch.no_grad():
        assert error(seln_block(x, w, 1e-5, keep), exact) < 1e-6


@needs_onednn
@pytest.mark.parametrize(('channels', 'kernel', 'ratio'), [(8, 3, 2), (24, 5, 6), (40, 7, 4)])
def test_other_widths_and_kernels(channels, kernel, ratio):
    w, x = weights(channels, kernel, ratio), torch.randn(2, channels, 11, 5)
    out_grad = torch.randn_like(x)
    out, gradients = both_passes(seln_block, x, w, out_grad)
    x, w, out_grad = (x.double(), BlockWeights(*(t.double() for t in w)), out_grad.double())
    exact, exact_gradients = both_passes(block_reference, x, w, out_grad, 1e-5)
    assert error(out, exact) < 1e-6
    for got, wanted in zip(gradients, exact_gradients, strict=True):
        assert error(got, wanted) < 1e-4


def test_the_reference_is_the_equations():
    w, x = weights(), torch.randn(2, 16, 6, 5)
    keep, out_grad = torch.tensor([0.0, 2.0]), torch.randn(2, 16, 6, 5)
    w64 = BlockWeights(*(t.double() for t in w))
    got = both_passes(block_reference, x.double(), w64, out_grad, 1e-5, keep)
    exact = both_passes(oracle, x, w64, out_grad, keep)
    assert_close(got[0], exact[0])
    for a, b in zip(got[1][1:], exact[1][1:], strict=True):
        assert_close(a, b)


@needs_onednn
def test_packed_weights_change_nothing():
    w, x, packed = weights(), torch.randn(3, 16, 8, 8), PackedOnce()
    with torch.no_grad():
        for images in (x, x[..., :3, :2]):
            out = seln_block(images, w, packed=packed)
            assert error(out, oracle(images, w)) < 1e-6


@needs_onednn_bf16
@pytest.mark.parametrize('size', [(14, 14), (3, 3)])
def test_bfloat16_is_no_worse_than_the_reference(size):
    w, x = weights(32), torch.randn(4, 32, *size)
    exact = oracle(x, w)
    with torch.no_grad():
        with torch.autocast('cpu', dtype=torch.bfloat16):
            assert plan_block(x, w)[:2] == ('cpu', torch.bfloat16)
            fast, slow = seln_block(x, w), block_reference(x, w, 1e-5)
            packed = seln_block(x, w, packed=PackedOnce())
        assert fast.dtype == slow.dtype == torch.float32
        assert error(fast, exact) <= error(slow, exact)
        assert error(packed, exact) <= error(slow, exact)
        # A model whose weights are in bfloat16.
        w, x = BlockWeights(*(t.bfloat16() for t in w)), x.bfloat16()
        exact = oracle(x, w)
        fast, slow = seln_block(x, w), block_reference(x, w, 1e-5)
    assert fast.dtype == slow.dtype == torch.bfloat16
    assert error(fast, exact) <= error(slow, exact)


def called(monkeypatch):
    """The operators' names, in the order in which they are called from now on."""
    names = []
    for name in ('seln_block', 'seln_block_training'):

        class Spy:
            def __init__(self, name, op):
                self.name, self.op = name, op

            def __call__(self, *args):
                names.append(self.name)
                return self.op(*args)

        monkeypatch.setattr(
            torch.ops.selnext_mm, name, Spy(name, getattr(torch.ops.selnext_mm, name))
        )
    return names


@needs_onednn
def test_the_operator_is_chosen_by_the_gradient(monkeypatch):
    names = called(monkeypatch)
    w, x = weights(requires_grad=True), torch.randn(1, 16, 4, 4)
    seln_block(x, w)
    with torch.no_grad():
        seln_block(x, w)
    seln_block(x, BlockWeights(*(t.detach() for t in w)))
    assert names == ['seln_block_training', 'seln_block', 'seln_block']


def traced(x, w):
    torch.jit.trace(lambda x: seln_block(x, w), x, check_trace=False)


def counted(x, w):
    with FlopCounterMode(display=False) as counter:
        seln_block(x, w)
    assert counter.get_total_flops() > 0


def mapped(x, w):
    torch.func.vmap(lambda image: seln_block(image[None], w))(x)


def differentiated(x, w):
    torch.func.grad(lambda x: seln_block(x, w).sum())(x)


def with_tangents(x, w):
    with forward_ad.dual_level():
        out = seln_block(forward_ad.make_dual(x, torch.ones_like(x)), w)
        assert forward_ad.unpack_dual(out).tangent is not None


def on_meta(x, w):
    seln_block(x.to('meta'), BlockWeights(*(t.to('meta') for t in w)))


def in_double(x, w):
    seln_block(x.double(), BlockWeights(*(t.double() for t in w)))


def in_half_autocast(x, w):
    with torch.autocast('cpu', dtype=torch.float16):
        seln_block(x, w)


def with_frozen_weights(x, w):
    seln_block(x.requires_grad_(), w)


def empty(x, w):
    assert seln_block(x[:0], w).shape == (0, 16, 4, 4)


def without_onednn(x, w):
    seln_block(x, w)


@pytest.mark.parametrize(
    'case',
    [
        *(traced, counted, mapped, differentiated, with_tangents, on_meta, in_double),
        *(in_half_autocast, with_frozen_weights, empty, without_onednn),
    ],
)
def test_the_reference_computes_what_is_unusual(monkeypatch, case):
    if case is without_onednn:
        monkeypatch.setattr(dispatch, 'has_fused_linear', lambda dtype: False)
    names = called(monkeypatch)
    case(torch.randn(2, 16, 4, 4), weights())
    assert names == []


@needs_onednn
def test_the_operators_keep_torchs_contract():
    w, x = weights(requires_grad=True), torch.randn(2, 16, 5, 6)
    op = torch.ops.selnext_mm.seln_block.default
    args = (x, [t.detach() for t in w], 1e-5, None, torch.float32, None)
    checks = ('test_schema', 'test_faketensor')
    torch.library.opcheck(op, args, test_utils=checks)
    op = torch.ops.selnext_mm.seln_block_training.default
    torch.library.opcheck(op, (x, args[1], 1e-5, torch.tensor([0.0, 2.0])), test_utils=checks)


@needs_onednn
@pytest.mark.parametrize('dynamic', [False, True])
def test_the_compiler_takes_the_block_as_one_node(dynamic):
    compiled = torch.compile(seln_block, backend='aot_eager', fullgraph=True, dynamic=dynamic)
    w = weights()
    for size in ((6, 5), (4, 9)):
        x, out_grad = torch.randn(2, 16, *size), torch.randn(2, 16, *size)
        out, gradients = both_passes(compiled, x, w, out_grad)
        exact, exact_gradients = both_passes(oracle, x, w, out_grad)
        assert error(out, exact) < 1e-6
        for got, wanted in zip(gradients, exact_gradients, strict=True):
            assert error(got, wanted) < 1e-4
        with torch.no_grad():
            assert error(compiled(x, w), exact) < 1e-6


@needs_onednn
def test_second_derivatives_are_refused():
    w, x = weights(requires_grad=True), torch.randn(1, 16, 4, 4, requires_grad=True)
    (grad,) = torch.autograd.grad(seln_block(x, w).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match='once_differentiable'):
        grad.sum().backward()


@pytest.mark.parametrize('fused', [False, True])
def test_linear_layers_with_what_follows(monkeypatch, fused):
    if fused and not has_fused_linear(torch.float32):
        pytest.skip('needs a torch with oneDNN on the CPU')
    monkeypatch.setattr(gelu_linear, 'has_fused_linear', lambda dtype: fused)
    x, weight, bias = torch.randn(11, 24) * 3, torch.randn(40, 24), torch.randn(40)
    other = torch.randn(11, 40)
    product = x.double() @ weight.double().T + bias.double()
    for w in (weight, gelu_linear.pack_weight(weight)):
        exact = 0.5 * product * (1 + torch.erf(product / 2**0.5))
        assert error(gelu_linear.linear_gelu(x, w, bias), exact) < 1e-6
        exact = other.double() + product
        assert error(gelu_linear.linear_add(x, w, bias, other), exact) < 1e-6
    assert_close(gelu_linear.linear_gelu_reference(x, weight, bias), F.gelu(product).float())


@needs_onednn
def test_extreme_values_of_the_fused_gelu():
    x = torch.tensor([-1e30, -50.0, -8.0, -1e-3, 0.0, 1e-3, 8.0, 50.0, 1e30])[:, None]
    one, zero = torch.ones(16, 1), torch.zeros(16)
    got = gelu_linear.linear_gelu(x, one, zero)[:, 0]
    assert_close(got, F.gelu(x[:, 0].double()).float(), rtol=1e-5, atol=1e-6)
    assert gelu_linear.linear_gelu(torch.full((1, 1), torch.nan), one, zero).isnan().all()
