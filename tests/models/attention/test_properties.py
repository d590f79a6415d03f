"""What holds for every shape, dtype and memory layout, on cases drawn at random."""

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mmengine.registry import MODELS
from torch.testing import assert_close

from tests.oracles import attention as oracle
from tests.oracles.na import na
from tests.oracles.selnext import seln

FUZZ = settings(
    max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
TWO_LAYERS = ('SqueezeExcitation', 'SELN')
CHANNEL = (
    *TWO_LAYERS,
    'EfficientChannelAttention',
    'GatedChannelTransformation',
    'GlobalResponseNorm',
)
FIRST = ('NAModule', 'SqueezeExciteGate')  # (N, C, H, W) only
ALL = (*CHANNEL, *FIRST)
SIZES = dict(n=st.integers(1, 3), h=st.integers(1, 9), w=st.integers(1, 9), c=st.integers(1, 24))
SEEDS = st.integers(0, 2**31)


def build(name, channels, seed=0, **options):
    """A module in float64 with parameters that all matter."""
    generator = torch.Generator().manual_seed(seed)
    if name in TWO_LAYERS or name == 'SqueezeExciteGate':
        options.setdefault('reduction', min(4, channels))
    module = MODELS.build(dict(type=name, in_channels=channels, **options)).double().eval()
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 2
    return module


def draw(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def expected(name, module, x):
    """The oracle's output for ``x`` of shape (N, H, W, C)."""
    if name == 'NAModule':
        y = na(x.permute(0, 3, 1, 2), module.weight, module.bias)
        return y.permute(0, 2, 3, 1)
    if name == 'EfficientChannelAttention':
        return oracle.eca(x, module.conv.weight.flatten())
    if name == 'GatedChannelTransformation':
        return oracle.gct(x, module.alpha, module.gamma, module.beta)
    if name == 'GlobalResponseNorm':
        return oracle.grn(x, module.gamma, module.beta)
    layers = [
        p.flatten(1) if p.ndim > 1 else p for m in (module.fc1, module.fc2) for p in m.parameters()
    ]
    if name == 'SELN':
        return seln(x, *layers, module.norm.weight, module.norm.bias)
    return oracle.se(x, *layers, 'sigmoid')


def run(name, module, x):
    """``module`` on ``x`` (N, H, W, C), whatever layout it wants."""
    if name in FIRST:
        return module(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return module(x)


@pytest.mark.parametrize('name', ALL)
@FUZZ
@given(**SIZES, seed=SEEDS)
def test_any_shape_gives_the_value_of_the_equations(name, n, h, w, c, seed):
    if name == 'NAModule' and c == 1:
        c = 2  # the oracle has no deviation of one channel
    module, x = build(name, c, seed), draw((n, h, w, c), seed + 1)
    y = run(name, module, x)
    assert y.shape == x.shape
    assert_close(y, expected(name, module, x), rtol=1e-9, atol=1e-9)


LAYOUTS = {
    'contiguous': lambda x: x.contiguous(),
    'channels first in memory': lambda x: x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1),
    'transposed': lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
    'every second channel': lambda x: x.repeat_interleave(2, 3)[..., ::2],
    'part of a larger map': lambda x: torch.nn.functional.pad(x, (1, 1, 2, 0, 0, 3))[
        :, : x.shape[1], 2:, 1:-1
    ],
}


@pytest.mark.parametrize('name', ALL)
@FUZZ
@given(**SIZES, seed=SEEDS, layout=st.sampled_from(list(LAYOUTS)))
def test_the_memory_layout_does_not_matter(name, n, h, w, c, seed, layout):
    module, x = build(name, c, seed), draw((n, h, w, c), seed + 1)
    view = LAYOUTS[layout](x)
    assert torch.equal(view, x)
    before = view.clone()
    assert_close(run(name, module, view), run(name, module, x), rtol=1e-12, atol=1e-12)
    assert torch.equal(view, before), 'the input was changed'


@pytest.mark.parametrize('name', ALL)
@FUZZ
@given(**SIZES, seed=SEEDS, dim=st.integers(0, 3))
@example(n=1, h=4, w=5, c=21, seed=1, dim=3)
def test_an_expanded_input_is_one_like_others(name, n, h, w, c, seed, dim):
    """All values along ``dim`` share one place in memory, with a stride of 0."""
    module, x = build(name, c, seed), draw((n, h, w, c), seed + 1)
    view = x.narrow(dim, 0, 1).expand(n, h, w, c)
    copy = view.contiguous()
    assert x.shape[dim] == 1 or view.stride(dim) == 0
    # NA divides by a deviation of the channels + 1e-5: where all channels are equal, the rounding
    # of their means is enlarged 1e5 times, and the two layouts may round differently.
    bound = 1e-9 if name == 'NAModule' and dim == 3 else 1e-12
    assert_close(run(name, module, view), run(name, module, copy), rtol=bound, atol=bound)
    assert torch.equal(view, copy), 'the input was changed'


@pytest.mark.parametrize('name', CHANNEL)
@FUZZ
@given(**SIZES, seed=SEEDS)
def test_both_data_formats_are_one_function(name, n, h, w, c, seed):
    last, x = build(name, c, seed), draw((n, h, w, c), seed + 1)
    first = build(name, c, seed, data_format='channels_first')
    y = first(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    assert_close(y, last(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('name', ALL)
@FUZZ
@given(**SIZES, seed=SEEDS, dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
@example(n=1, h=1, w=1, c=1, seed=583369, dtype=torch.bfloat16)
def test_other_precisions_keep_their_dtype_and_come_close(name, n, h, w, c, seed, dtype):
    module, x = build(name, c, seed), draw((n, h, w, c), seed + 1).to(dtype)
    exact = run(name, module, x.double())
    y = run(name, module.float(), x)
    assert y.dtype == dtype
    assert torch.isfinite(y).all()
    bits = {torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 3e-2}[dtype]
    # Of the input too: GRN adds terms of that size, which may cancel in the output.
    assert (y.double() - exact).norm() <= bits * (exact.norm() + x.double().norm())


@pytest.mark.parametrize('name', ALL)
@FUZZ
@given(**SIZES, seed=SEEDS)
def test_images_do_not_see_each_other(name, n, h, w, c, seed):
    module, x = build(name, c, seed), draw((n, h, w, c), seed + 1)
    alone = torch.cat([run(name, module, image[None]) for image in x])
    assert_close(run(name, module, x), alone, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize('name', ALL)
@FUZZ
@given(**SIZES, seed=SEEDS)
def test_moving_the_positions_moves_the_output(name, n, h, w, c, seed):
    """Without convolutions in it no position is special: any permutation will do."""
    module, x = build(name, c, seed), draw((n, h, w, c), seed + 1)
    order = torch.randperm(h * w, generator=torch.Generator().manual_seed(seed))

    def moved(t):
        return t.flatten(1, 2)[:, order].view_as(t)

    assert_close(run(name, module, moved(x)), moved(run(name, module, x)), rtol=1e-11, atol=1e-11)
