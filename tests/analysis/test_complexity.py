"""Counts against hand-counted nets and mmcv's counter; printed figures and their rounding."""

import warnings
from decimal import Decimal
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from torch import nn

from selnext_mm.analysis.complexity import (
    WithoutInitialValues,
    build_model,
    measure,
    measure_model,
    without_data,
)
from selnext_mm.analysis.papers.figures import PAPER_FIGURES
from selnext_mm.analysis.papers.printed import meets, printed_interval
from selnext_mm.config_files import find_config
from selnext_mm.errors import UserError


class TinyNet(nn.Module):
    """Input 3x16x24: a strided and a depth-wise convolution, a deconvolution, a linear layer."""

    MACS = (
        9 * 3 * 4 * (8 * 12)  # conv, 3 -> 4
        + 9 * 4 * (8 * 12)  # depth-wise
        + 4 * 4 * 2 * (8 * 12)  # 2x2 deconvolution, 4 -> 2, counted at its input positions
        + 2 * 10  # linear
    )
    # conv bias, ReLU, deconvolution bias, affine norm
    EXTRAS = 4 * 8 * 12 + 4 * 8 * 12 + 2 * 16 * 24 + 2 * 2

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
        self.deconv = nn.ConvTranspose2d(4, 2, 2, stride=2)
        self.norm = nn.LayerNorm(2)
        self.fc = nn.Linear(2, 10)
        self.fc.bias.requires_grad_(False)

    def forward(self, x, mode='tensor'):
        assert mode == 'tensor'
        x = self.deconv(self.depthwise(self.relu(self.conv(x))))
        return self.fc(self.norm(x.mean((2, 3))))


def test_hand_counted_net():
    result = measure_model(TinyNet().eval(), (16, 24))
    assert result.macs == TinyNet.MACS
    assert result.flops_mmcv == TinyNet.MACS + TinyNet.EXTRAS
    assert result.params == 112 + 36 + 34 + 4 + 30
    assert result.trainable_params == result.params - 10
    assert result.shape == (16, 24)


def test_mmcv_counts_the_same_operations():
    from mmcv.cnn import get_model_complexity_info

    net = TinyNet().eval()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        flops, _ = get_model_complexity_info(
            net, (3, 16, 24), print_per_layer_stat=False, as_strings=False
        )
    assert measure_model(net, (16, 24)).flops_mmcv == flops


def test_the_hooks_leave_nothing_behind():
    net = TinyNet().eval()
    before = {name: dict(vars(m)) for name, m in net.named_modules()}
    measure_model(net, (16, 24))
    for name, module in net.named_modules():
        assert vars(module).keys() == before[name].keys()
        assert not module._forward_hooks


def test_functional_calls_are_none_to_mmcvs_count():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3, affine=False)
            self.pool = nn.MaxPool2d(2)

        def forward(self, x, mode='tensor'):
            return torch.relu(self.pool(self.norm(x)))

    result = measure_model(Functional().eval(), (4, 6))
    assert (result.macs, result.flops_mmcv) == (0, 3 * 24 + 3 * 24)


def test_matrix_products_are_counted_and_elementwise_operations_are_not():
    class Attention(nn.Module):
        def forward(self, x, mode='tensor'):
            x = x.flatten(2)
            return torch.softmax(x @ x.transpose(1, 2), -1) * 3 + 1

    assert measure_model(Attention(), (4, 5)).macs == 3 * 3 * 20
    assert measure_model(Attention(), (4, 5)).flops_mmcv == 0


class TinyTwoStage(nn.Module):
    """Three box heads 5 * 2 * 2 -> 6 and one mask head, a 1x1 convolution 5 -> 7 on 4x4."""

    def __init__(self, mask=True):
        super().__init__()

        def extractor(size):
            stage = nn.Module()
            stage.roi_layers = [SimpleNamespace(output_size=(size, size))]
            stage.out_channels = 5
            return stage

        self.backbone = nn.Conv2d(3, 5, 4, stride=4, bias=False)
        self.rpn_head = nn.Conv2d(5, 2, 1, bias=False)
        self.roi_head = nn.Module()
        self.roi_head.with_shared_head = False
        self.roi_head.with_mask = mask
        heads = [nn.Sequential(nn.Flatten(), nn.Linear(20, 6)) for _ in range(3)]
        self.roi_head.bbox_head = nn.ModuleList(heads)
        self.roi_head.bbox_roi_extractor = nn.ModuleList([extractor(2) for _ in range(3)])
        self.roi_head.mask_head = nn.Conv2d(5, 7, 1, bias=False)
        self.roi_head.mask_roi_extractor = extractor(4)

    def extract_feat(self, x):
        return self.backbone(x)


@pytest.mark.parametrize('mask', [True, False])
def test_two_stage_convention_is_1000_proposals_and_100_masks(mask):
    result = measure_model(TinyTwoStage(mask).eval())
    positions = (800 // 4) * (1280 // 4)
    macs = positions * (3 * 16 * 5 + 5 * 2) + 3 * 1000 * 20 * 6
    assert result.macs == macs + mask * 100 * 16 * 5 * 7
    assert result.shape == (800, 1280)
    assert ('100 masks' in result.convention) == mask


def test_a_shared_roi_head_is_refused():
    model = TinyTwoStage()
    model.roi_head.with_shared_head = True
    with pytest.raises(UserError, match='shared RoI head'):
        measure_model(model)


def test_a_config_without_a_model_is_refused():
    with pytest.raises(UserError, match='describes no model'):
        measure(Config({'lr': 1}))


def test_gate_of_selnext_is_counted():
    cfg = Config.fromfile(find_config('cls/selnext_t_in1k.py'))
    cfg.model.backbone.arch = {'depths': (1, 1, 1, 1), 'channels': (16, 16, 16, 16)}
    cfg.model.head.update(in_channels=16, num_classes=10)
    result = measure(cfg, (64, 64))

    stem, head = 48 * 16 * 256, 16 * 10
    downsampling = sum(4 * 16 * 16 * n for n in (64, 16, 4))
    per_position = 49 * 16 + 2 * 16 * 64
    gate = 2 * 64 * 4
    blocks = sum(per_position * n + gate for n in (256, 64, 16, 4))
    assert result.macs == stem + downsampling + blocks + head


@pytest.mark.parametrize(
    ('text', 'low', 'high'),
    [('262', '261.5', '262.5'), ('4.5', '4.45', '4.55'), ('0.23', '0.225', '0.235')],
)
def test_printed_figures_imply_their_rounding(text, low, high):
    assert printed_interval(text) == (Decimal(low), Decimal(high))


def test_rounding_intervals_are_half_open_and_exact():
    assert meets(4_450_000_000, '4.5', 'flops')
    assert not meets(4_449_999_999, '4.5', 'flops')
    assert not meets(4_550_000_000, '4.5', 'flops')
    assert meets(54_632_904, '55', 'params')
    assert not meets(54_632_904, '54', 'params')


PATNETS = ('t0', 't1', 't2', 's', 'm', 'l')
TABLE2_PEERS = (
    *('ResNet50', 'ResNet101', 'ResNeXt101-32x4d', 'ResNeXt101-64x4d'),
    *('PoolFormer-S24', 'PoolFormer-S36', 'PVT-Small', 'PVT-Medium', 'PVT-Large'),
)
UNMET = {
    'params': {
        'cls/mobilenet_v3_l_grn_in1k.py',
        'cls/patnet_t2_in1k.py, no attention',
        'cls/fasternet_s_in1k.py',
        *(f'cls/patnet_{a}_in1k.py' for a in ('t2', 'm', 'l')),
        *(f'mask_rcnn/patnet_{a}_1x_coco.py' for a in 'sml'),
    },
    'flops': {
        *(f'cls/mobilenet_v3_l_{a}_in1k.py' for a in ('se', 'eca')),
        'cls/patnet_t2_in1k.py, no attention',
        *(f'cls/patnet_{a}_in1k.py' for a in PATNETS),
        *(f'cls/fasternet_{a}_in1k.py' for a in ('t2', 's', 'm', 'l')),
        *(f'mask_rcnn/{m}_{a}_1x_coco.py' for m in ('fasternet', 'patnet') for a in 'sml'),
        *(f'mask_rcnn/patnet_s_1x_coco.py, {name}' for name in TABLE2_PEERS),
        *(f'cascade_mask_rcnn/swin_{a}_3x_coco.py' for a in 'tsb'),
    },
}


@pytest.mark.parametrize('quantity', UNMET)
def test_a_count_prints_as_the_paper_does_or_has_its_reason(quantity):
    unmet = {
        name
        for name, figure in PAPER_FIGURES.items()
        if not meets(getattr(figure, f'exact_{quantity}'), getattr(figure, quantity), quantity)
    }
    assert unmet == UNMET[quantity]
    reasons = {n for n, figure in PAPER_FIGURES.items() if getattr(figure, f'{quantity}_reason')}
    assert reasons == unmet


def batch_norm_operations(model):
    """Two per element of every batch norm, as fvcore counts them, at 224 x 224."""
    total = 0

    def count(module, _, out):
        nonlocal total
        total += 2 * out.numel()

    handles = [
        m.register_forward_hook(count) for m in model.modules() if 'BatchNorm' in str(type(m))
    ]
    measure_model(model)
    for handle in handles:
        handle.remove()
    return total


@pytest.mark.parametrize('arch', PATNETS)
def test_fasternets_printed_flops_have_the_batch_norms(arch):
    pytest.importorskip('timm', reason="pip install 'timm>=1.0.17'")
    name = f'cls/fasternet_{arch}_in1k.py'
    model = build_model(Config.fromfile(find_config(name))).eval()
    flops = PAPER_FIGURES[name].exact_flops + batch_norm_operations(model)
    assert meets(flops, PAPER_FIGURES[name].flops, 'flops')
    given = PAPER_FIGURES[name].flops_reason
    assert not given or f'({flops / 1e9:.3f})' in given


@pytest.mark.parametrize('arch', ['t2', 'm', 'l'])
def test_without_pat_sp_and_with_batch_norms_patnet_m_and_l_have_the_printed_flops(arch):
    figure = PAPER_FIGURES[f'cls/patnet_{arch}_in1k.py']
    cfg = Config.fromfile(find_config(f'cls/patnet_{arch}_in1k.py'))
    cfg.merge_from_dict({'model.backbone.spatial_cfg': None})
    model = build_model(cfg).eval()
    flops = measure_model(model).macs + batch_norm_operations(model)
    # T2 has not: its print is the deployed model's, as those of T0 and S are.
    assert meets(flops, figure.flops, 'flops') == (arch != 't2')
    assert (f'{flops / 1e9:.3f}' in figure.flops_reason) == (arch != 't2')


@pytest.mark.parametrize(
    ('arch', 'raw', 'deployed'),
    [
        ('t0', 0.2595, 0.2491),
        ('t1', 0.6104, 0.5851),
        ('t2', 1.0780, 1.0331),
        ('s', 2.8283, 2.7054),
    ],
)
def test_patnet_macs_before_and_after_deployment(arch, raw, deployed):
    model = build_model(Config.fromfile(find_config(f'cls/patnet_{arch}_in1k.py'))).eval()
    assert round(measure_model(model).macs / 1e9, 4) == raw
    model.backbone.switch_to_deploy()
    after = measure_model(model)
    # `deployed` has the gate of PAT_sp as a separate convolution of half the width; merged, its
    # row reads all hidden channels, 4 times as many.
    depths, widths = model.backbone.depths, model.backbone.channels
    layers = zip(depths, widths, (56, 28, 14, 7), strict=True)
    gates = sum(n * (2 * c - c // 2) * side**2 for n, c, side in layers)
    assert after.macs / 1e9 == pytest.approx(deployed + gates / 1e9, abs=1e-4)
    printed = dict(t0='0.25', t2='1.03', s='2.71')
    assert arch not in printed or meets(after.macs, printed[arch], 'flops')


def test_attention_kernel_of_the_cpu_is_counted():
    class Attention(nn.Module):
        def forward(self, x, mode='tensor'):
            q = x.flatten(2)[:, None]
            mask = torch.zeros(3, 3)
            return nn.functional.scaled_dot_product_attention(q, q, q, attn_mask=mask)

    assert measure_model(Attention(), (4, 5)).macs == 2 * 3 * 3 * 20


def test_no_number_is_drawn_for_a_model_that_is_only_counted():
    before = torch.get_rng_state()
    with WithoutInitialValues():
        nn.Conv2d(3, 8, 3)
        nn.init.trunc_normal_(nn.Linear(4, 4).weight, std=0.02)
        nn.init.normal_(torch.empty(5))
    assert torch.equal(torch.get_rng_state(), before)
    nn.Linear(4, 4)
    assert not torch.equal(torch.get_rng_state(), before)


def test_the_counted_copy_leaves_the_model_its_weights():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    model[0].bias.requires_grad_(False)
    copy = without_data(model)
    assert {t.device.type for t in (*copy.parameters(), *copy.buffers())} == {'meta'}
    assert {t.device.type for t in (*model.parameters(), *model.buffers())} == {'cpu'}
    assert [p.requires_grad for p in copy.parameters()] == [True, False, True, True]
