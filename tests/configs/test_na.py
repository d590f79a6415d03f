"""The leaves of the NA paper: what they build, and the recipe that they hold."""

from functools import partial

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import MODELS

from selnext_mm.analysis.complexity import build_model
from selnext_mm.config_files import find_config

pytest.importorskip('mmdet', reason='the configs build mmdet models; install mmdet to run this')
pytest.importorskip('mmpretrain', reason='the configs build mmpretrain models; install it')

# leaf -> (parameters, those that are trained); FACTS of the paper: Tables 1 and 4
LEAVES = {
    'cls/na_resnet50_in1k.py': (25_557_064, 25_557_064),
    'cls/na_mobilenet_v2_in1k.py': (3_504_906, 3_504_906),
    'retinanet/r50_2x_coco.py': (37_968_692, 37_743_348),
    'retinanet/na_r50_2x_coco.py': (37_968_724, 37_743_374),
    'retinanet/se_r50_2x_coco.py': (40_499_684, 40_248_948),
    'cascade_rcnn/r50_2x_coco.py': (69_394_766, 69_169_422),
    'cascade_rcnn/na_r50_2x_coco.py': (69_394_798, 69_169_448),
    'cascade_rcnn/gc_r50_2x_coco.py': (71_942_766, 71_691_163),
}
DETECTORS = [leaf for leaf in LEAVES if not leaf.startswith('cls/')]


def load(leaf):
    return Config.fromfile(find_config(leaf))


def assert_sgd(cfg, lr):
    optimizer = cfg.optim_wrapper.optimizer
    values = (optimizer.type, optimizer.lr, optimizer.momentum, optimizer.weight_decay)
    assert values == ('SGD', lr, 0.9, 1e-4)


def test_every_leaf_of_the_folders_is_listed(root):
    found = {
        path.relative_to(root / 'configs').as_posix()
        for folder in ('retinanet', 'cascade_rcnn')
        for path in (root / 'configs' / folder).glob('*.py')
        if not path.name.startswith('selnext_')
    }
    found |= {f'cls/{path.name}' for path in (root / 'configs/cls').glob('na_*.py')}
    assert found == set(LEAVES)


@pytest.mark.parametrize('leaf', LEAVES)
def test_parameters_are_the_papers(leaf):
    model = build_model(load(leaf)).eval()
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert (sum(p.numel() for p in model.parameters()), trained) == LEAVES[leaf]


@pytest.mark.parametrize('leaf', LEAVES)
def test_a_leaf_is_short(leaf, root):
    assert len((root / 'configs' / leaf).read_text().splitlines()) <= 25


@pytest.mark.parametrize('folder', ['retinanet', 'cascade_rcnn'])
def test_the_metafile_lists_the_leaves_with_their_parameters(folder, root):
    models = yaml.safe_load((root / 'configs' / folder / 'metafile.yml').read_text())['Models']
    rows = {m['Config'].removeprefix('configs/'): m['Metadata']['Parameters'] for m in models}
    rows = {leaf: n for leaf, n in rows.items() if '/selnext_' not in leaf}
    assert rows == {leaf: n for leaf, (n, _) in LEAVES.items() if leaf.startswith(f'{folder}/')}


@pytest.mark.parametrize('leaf', DETECTORS)
def test_detectors_train_24_epochs_with_steps_at_18_and_22(leaf):
    cfg = load(leaf)
    assert cfg.train_cfg.max_epochs == 24
    assert cfg.param_scheduler[-1].milestones == [18, 22]
    assert_sgd(cfg, lr=0.01 if leaf.startswith('retinanet') else 0.02)
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 16
    assert cfg.model.backbone.frozen_stages == 1


def test_resnet_trains_100_epochs_in_steps():
    cfg = load('cls/na_resnet50_in1k.py')
    assert cfg.train_cfg.max_epochs == 100
    assert cfg.param_scheduler.milestones == [30, 60, 90]
    assert_sgd(cfg, lr=0.1)
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 256
    assert not cfg.model.backbone.norm_eval


def test_mobilenet_trains_150_epochs_on_a_cosine():
    cfg = load('cls/na_mobilenet_v2_in1k.py')
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler.T_max == 150
    assert cfg.param_scheduler.type == 'CosineAnnealingLR'
    assert_sgd(cfg, lr=0.1)
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 512


@pytest.mark.parametrize('leaf', ['retinanet/na_r50_2x_coco.py', 'cascade_rcnn/na_r50_2x_coco.py'])
def test_a_classifiers_checkpoint_fits_the_detector_tensor_for_tensor(leaf, tmp_path):
    classifier = build_model(load('cls/na_resnet50_in1k.py')).eval()
    for name, parameter in classifier.named_parameters():
        if '.na.' in name:
            torch.nn.init.normal_(parameter)
    torch.save({'state_dict': classifier.state_dict()}, tmp_path / 'cls.pth')
    cfg = load(leaf)
    cfg.model.backbone.init_cfg.update(checkpoint=str(tmp_path / 'cls.pth'), min_loaded=1.0)
    backbone = build_model(cfg).eval().backbone
    backbone.init_weights()
    expected = classifier.backbone.state_dict()
    assert backbone.state_dict().keys() == expected.keys()
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, expected[key]), key


def classifier(backbone, width):
    """Parameters of a backbone with a 1000-class head."""
    model = MODELS.build(backbone)
    return sum(p.numel() for p in model.parameters()) + 1000 * (width + 1)


SE, CB = 'SqueezeExcitation', 'CBAM'


def attention(kind, reduction):
    return dict(type=kind, reduction=reduction, data_format='channels_first')


# What docs/na.md compares NA with: backbone, width of the head, parameters.
COMPARED = {
    'SE-ResNet-50': (dict(type='mmpretrain.SEResNet', depth=50), 2048, 28_088_024),
    'SE-ResNet-50, ours': (
        dict(type='NAResNet', depth=50, attention_cfg=attention(SE, 16)),
        *(2048, 28_088_024),
    ),
    'CBAM-ResNet-50': (
        dict(type='NAResNet', depth=50, attention_cfg=attention(CB, 16)),
        *(2048, 28_089_624),
    ),
    'GC-ResNet-50': (
        dict(
            type='NAResNet',
            depth=50,
            attention_cfg=dict(type='ContextBlock', ratio=1 / 16),
        ),
        *(2048, 28_105_032),
    ),
    'GE-ResNet-50': (
        dict(type='NAResNet', depth=50, attention_cfg=dict(type='GatherExcite')),
        *(2048, 25_557_032),
    ),
    'SK-ResNet-50': (
        dict(
            type='NAResNet',
            depth=50,
            attention_cfg=None,
            conv2_cfg=dict(type='SelectiveKernel'),
        ),
        *(2048, 26_154_496),
    ),
    'GE-MobileNetV2': (
        dict(
            type='NAMobileNetV2',
            attention_cfg=dict(type='GatherExcite', extent=8, learned=True),
        ),
        *(1280, 3_554_504),
    ),
    'MobileNetV2': (dict(type='NAMobileNetV2', attention_cfg=None), 1280, 3_504_872),
    'SE-MobileNetV2': (
        dict(type='NAMobileNetV2', attention_cfg=attention(SE, 8)),
        *(1280, 3_563_492),
    ),
    'CBAM-MobileNetV2': (
        dict(type='NAMobileNetV2', attention_cfg=attention(CB, 8)),
        *(1280, 3_565_192),
    ),
}


@pytest.mark.parametrize('name', COMPARED)
def test_parameters_of_the_modules_it_is_compared_with(name, root):
    backbone, width, expected = COMPARED[name]
    assert classifier(backbone, width) == expected
    assert f'{expected:,}' in (root / 'docs/na.md').read_text()


@pytest.mark.parametrize(
    'name', [n for n in COMPARED if n.startswith(('SE-', 'CBAM-', 'GE-', 'SK-'))]
)
def test_the_compared_modules_run(name):
    model = MODELS.build(dict(COMPARED[name][0]))
    model.train()
    x = torch.randn(2, 3, 64, 64)
    model(x)[-1].sum().backward()
    assert all(
        p.grad is not None and p.grad.isfinite().all()
        for p in model.parameters()
        if p.requires_grad
    )


@pytest.mark.parametrize(
    ('model', 'attention', 'expected'),
    [
        ('resnet50', 'cbam', 28_073_576),
        ('skresnet50', None, 25_803_160),
        ('resnet50', 'gather-excite without parameters', 25_557_032),
    ],
)
def test_parameters_of_timms_modules(model, attention, expected, root):
    layers = pytest.importorskip('timm.layers')
    import timm

    layer = attention if attention == 'cbam' else partial(layers.GatherExcite, use_mlp=False)
    options = dict(block_args=dict(attn_layer=layer)) if attention else {}
    with torch.device('meta'):
        built = timm.create_model(model, **options)
    assert sum(p.numel() for p in built.parameters()) == expected
    assert f'{expected:,}' in (root / 'docs/na.md').read_text()
