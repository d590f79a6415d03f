"""Names of models, and that each can be built."""

import re

import pytest
import torch
from mmengine.registry import MODELS

from selnext_mm.config.build import build_model
from selnext_mm.config_files import config_root
from selnext_mm.errors import UserError
from selnext_mm.models.backbones.selnext import ARCHS
from selnext_mm.recipes.models import (
    BACKBONES,
    DETECTORS,
    ModelName,
    backbone_config,
    classifier_model,
    detector_model,
    detector_of,
    output_widths,
    parse_model,
    set_classes,
)


@pytest.mark.parametrize(
    ('name', 'task', 'expected'),
    [
        ('selnext_t', 'boxes', ('faster_rcnn', 'selnext_t')),
        ('selnext_atto', 'boxes', ('cascade_rcnn', 'selnext_atto')),
        ('resnet18', 'boxes', ('cascade_rcnn', 'resnet18')),
        ('selnext_atto', 'masks', ('mask_rcnn', 'selnext_atto')),
        ('selnext_t', 'masks', ('mask_rcnn', 'selnext_t')),
        ('selnext_t', 'classification', (None, 'selnext_t')),
        ('retinanet/na_resnet50', 'boxes', ('retinanet', 'na_resnet50')),
        ('faster_rcnn/patnet_s', 'masks', ('faster_rcnn', 'patnet_s')),
    ],
)
def test_names(name, task, expected):
    assert parse_model(name, task) == ModelName(*expected)


@pytest.mark.parametrize(
    ('keys', 'started', 'boxes', 'masks'),
    [
        (('backbone.x',), None, 'cascade_rcnn', 'mask_rcnn'),
        (('bbox_head.fc.x',), None, 'cascade_rcnn', 'mask_rcnn'),  # another's head
        (('bbox_head.retina_cls.weight',), 'retinanet', 'retinanet', 'mask_rcnn'),
        (('roi_head.bbox_head.fc_cls.x',), 'faster_rcnn', 'faster_rcnn', 'mask_rcnn'),
        (
            ('roi_head.bbox_head.fc_cls.x', 'roi_head.mask_head.x'),
            'mask_rcnn',
            'faster_rcnn',
            'mask_rcnn',
        ),
        (
            ('roi_head.bbox_head.0.fc_cls.x',),
            'cascade_rcnn',
            'cascade_rcnn',
            'cascade_mask_rcnn',
        ),
        (
            ('roi_head.bbox_head.0.fc_cls.x', 'roi_head.mask_head.0.x'),
            'cascade_mask_rcnn',
            'cascade_rcnn',
            'cascade_mask_rcnn',
        ),
    ],
)
def test_weights_of_a_detector_choose_it(keys, started, boxes, masks):
    assert detector_of(keys) == started
    assert parse_model('selnext_yocto', 'boxes', started).detector == boxes
    assert parse_model('selnext_yocto', 'masks', started).detector == masks
    assert parse_model('selnext_yocto', 'classification', started).detector is None
    assert parse_model('retinanet/selnext_yocto', 'boxes', started).detector == 'retinanet'


@pytest.mark.parametrize(
    ('name', 'task', 'words'),
    [
        ('selnet_t', 'boxes', 'did you mean selnext_t'),
        ('nothing', 'boxes', 'choose from selnext_t'),
        ('faster_rcn/selnext_t', 'boxes', 'did you mean faster_rcnn'),
        ('mask_rcnn/selnext_t', 'boxes', 'use faster_rcnn/selnext_t'),
        ('cascade_mask_rcnn/selnext_t', 'boxes', 'use cascade_rcnn/selnext_t'),
        ('faster_rcnn/selnext_t', 'classification', 'name the backbone alone'),
    ],
)
def test_names_that_do_not_fit(name, task, words):
    with pytest.raises(UserError, match=words):
        parse_model(name, task)


def test_a_detector_of_masks_for_labels_with_few_of_them_says_why():
    why = 'only 3 of 4 objects have a mask; the others are in 1 image (a.png): give them masks'
    with pytest.raises(UserError) as caught:
        parse_model('mask_rcnn/selnext_t', 'boxes', no_masks=why)
    assert str(caught.value) == (
        'mask_rcnn/selnext_t learns masks, but only the boxes of the labels are used: '
        f'{why}. For boxes use faster_rcnn/selnext_t'
    )


WIDTHS = {
    'selnext_atto': [40, 80, 160, 320],
    'convnext_b': [128, 256, 512, 1024],
    'na_resnet50': [256, 512, 1024, 2048],
    'resnet18': [64, 128, 256, 512],
    'patnet_t0': None,
    'fasternet_s': None,
    'mobilenet_v3_l_seln': [24, 40, 112, 960],
}


@pytest.mark.parametrize('name', WIDTHS)
def test_widths_of_the_maps(name):
    pytest.importorskip('mmdet', reason='needs mmdet')
    cfg = backbone_config(ModelName('faster_rcnn', name), 0.0, None)
    widths = output_widths(cfg, 'mmdet')
    if WIDTHS[name]:
        assert widths == WIDTHS[name]
    assert output_widths(dict(cfg, out_indices=(1, 2, 3)), 'mmdet') == widths[1:]


def test_there_are_the_models_that_the_help_names():
    assert len(BACKBONES) == 40
    assert set(DETECTORS) == {
        'faster_rcnn',
        'mask_rcnn',
        'cascade_rcnn',
        'cascade_mask_rcnn',
        'retinanet',
    }


@pytest.mark.parametrize('name', ['selnext_atto', 'resnet18', 'patnet_t0', 'mobilenet_v3_l_se'])
def test_classifiers_train_every_weight(name):
    pytest.importorskip('mmpretrain', reason='needs mmpretrain')
    from mmengine.config import Config

    backbone = backbone_config(ModelName(None, name), 0.0, None)
    cfg = Config(dict(model=classifier_model(backbone, 3), default_scope='mmpretrain'))
    model = build_model(cfg)
    features = model.extract_feat(torch.randn(2, 3, 64, 64))
    assert model.head.fc(features[-1]).shape == (2, 3)
    assert all(p.requires_grad for p in model.parameters())


def test_all_heads_get_the_classes():
    node = dict(
        roi_head=dict(bbox_head=[dict(num_classes=80), dict(num_classes=80)]),
        mask_head=dict(num_classes=80),
    )
    assert set_classes(node, 3) == 3
    assert '80' not in str(node)


@pytest.mark.parametrize('backbone', ['fasternet_t0', 'patnet_t0', 'selnext_atto', 'resnet18'])
def test_a_detectors_backbone_that_starts_from_weights_takes_its_arguments(backbone):
    if backbone.startswith('fasternet'):
        pytest.importorskip('timm', reason="FasterNet is timm's; install selnext_mm[timm]")
    cfg = backbone_config(parse_model(backbone, 'boxes'), 0.1, 'backbone.pth')
    assert cfg.pop('init_cfg')['checkpoint'] == 'backbone.pth'
    MODELS.build(cfg)


@pytest.mark.parametrize(
    ('size', 'factor'), [(160, 1 / 4), (320, 1 / 2), (448, 1 / 2), (480, 1), (640, 1), (1333, 1)]
)
def test_anchors_and_levels_follow_the_size_of_the_images(size, factor):
    for detector in ('faster_rcnn', 'mask_rcnn', 'cascade_mask_rcnn', 'retinanet'):
        name = ModelName(detector, 'selnext_atto')
        model = detector_model(name, backbone_config(name, 0.0, None), 3, size)
        if detector == 'retinanet':
            assert model.bbox_head.anchor_generator.octave_base_scale == 4 * factor
            continue
        assert model.rpn_head.anchor_generator.scales == [8 * factor]
        for role in ('bbox', 'mask'):
            if extractor := model.roi_head.get(f'{role}_roi_extractor'):
                assert extractor.get('finest_scale', 56) == 56 * factor


def test_the_table_of_sizes_is_the_code():
    page = (config_root().parent / 'docs' / 'your_own_data.md').read_text()
    row = re.compile(r'^\| `(\w+)` \| `(\w+)` \| ([\d, ]+) \| ([\d, ]+) \|$', re.MULTILINE)
    numbers = {}
    for name, arch, *lists in row.findall(page):
        assert BACKBONES[f'selnext_{name}']['arch'] == BACKBONES[f'convnext_{name}']['arch'] == arch
        numbers[arch] = tuple(tuple(map(int, text.split(', '))) for text in lists)
    assert numbers == ARCHS


def test_heads_are_as_narrow_as_their_backbone_is_small():
    widths = {}
    for backbone in ('selnext_yocto', 'selnext_atto', 'selnext_nano'):
        name = ModelName('cascade_rcnn', backbone)
        model = detector_model(name, backbone_config(name, 0.0, None), 3, 640)
        heads = {head.fc_out_channels for head in model.roi_head.bbox_head}
        widths[backbone] = (model.neck.out_channels, model.rpn_head.feat_channels, heads)
    assert widths == {
        'selnext_yocto': (64, 64, {128}),
        'selnext_atto': (64, 64, {256}),
        'selnext_nano': (256, 256, {1024}),
    }
