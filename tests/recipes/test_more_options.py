"""``--freeze``, ``--multi-scale``, ``--mix`` and ``--clip-grad`` in a config and in a run."""

import json
import random

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, DefaultScope

import selnext_mm
from selnext_mm.config.build import build_model
from selnext_mm.engine.hooks.unmixed_images import UnmixedImagesHook
from selnext_mm.errors import UserError
from selnext_mm.models import SELNeXt
from selnext_mm.recipes import Options, resolve

pytest.importorskip('mmdet', reason='needs mmdet')
pytest.importorskip('mmpretrain', reason='needs mmpretrain')


@pytest.fixture
def weights(tmp_path):
    """Weights of a backbone, as a user names them."""
    path = tmp_path / 'backbone.pth'
    state = {f'backbone.{k}': v for k, v in SELNeXt('atto').state_dict().items()}
    torch.save(dict(state_dict=state), path)
    return str(path)


def hook(cfg, kind):
    return next((h for h in cfg.custom_hooks if h['type'] == kind), None)


@pytest.mark.parametrize('labels', ['boxes', 'folders'])
def test_frozen_stages_are_not_trained_and_the_others_are(labels, request, weights):
    info = request.getfixturevalue(labels)
    cfg, _ = resolve(info, 'selnext_atto', Options(image_size=64, weights=weights, freeze=2))
    model = build_model(cfg)
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {
        name
        for name, _ in model.named_parameters()
        if name.startswith(
            tuple(
                f'backbone.{part}.{i}.' for part in ('stages', 'downsample_layers') for i in (0, 1)
            )
        )
    }


def test_a_converted_convnext_is_a_start_without_gates(folders, tmp_path):
    net = SELNeXt('atto', attention_cfg=None)
    state = {f'backbone.{k}': v for k, v in net.state_dict().items() if not k.startswith('norm')}
    path = str(tmp_path / 'converted.pth')
    torch.save(dict(state_dict=state), path)
    cfg, lines = resolve(folders, 'selnext_atto', Options(image_size=64, weights=path))
    said = f'fine-tuning recipe: starts from the backbone weights {path}; it has no gates'
    assert any(line.startswith(said) for line in lines)
    model = build_model(cfg)
    model.backbone.init_weights()  # refused, at 95 %, if the gates counted as lost
    assert all(torch.equal(model.state_dict()[key], value) for key, value in state.items())
    cfg, _ = resolve(folders, 'convnext_atto', Options(image_size=64, weights=path))
    assert 'min_loaded' not in cfg.model.backbone.init_cfg


def test_weights_from_the_hub_are_a_start_of_either_kind(boxes, hub):
    from safetensors.torch import save

    backbone = {f'backbone.{k}': v for k, v in SELNeXt('atto').state_dict().items()}
    hub.add('me/net', save(backbone))
    hub.add('me/detector', save(backbone | {'neck.a': torch.zeros(1)}))
    cfg, lines = resolve(boxes, 'selnext_atto', Options(image_size=64, weights='hf://me/net'))
    assert cfg.model.backbone.init_cfg.checkpoint == 'hf://me/net'
    assert any(line.endswith('starts from the backbone weights hf://me/net') for line in lines)
    line = build_model(cfg).backbone.load_pretrained()
    assert 'from hf://me/net; new, at their initial values: norm0' in line
    cfg, _ = resolve(boxes, 'selnext_atto', Options(image_size=64, weights='hf://me/detector'))
    assert cfg.load_from == 'hf://me/detector'


def test_mmdets_resnet_counts_from_the_stem(boxes, weights, monkeypatch):
    from selnext_mm.recipes.models import backbone_config, parse_model

    name = parse_model('na_resnet18', 'boxes')
    assert backbone_config(name, 0, weights, freeze=0)['frozen_stages'] == -1
    assert backbone_config(name, 0, weights, freeze=2)['frozen_stages'] == 2


def test_gradients_are_clipped_as_told(boxes):
    for value, expected in ((None, dict(max_norm=5.0)), (1.5, dict(max_norm=1.5)), (0, None)):
        cfg, _ = resolve(boxes, 'selnext_atto', Options(image_size=64, clip_grad=value))
        assert cfg.optim_wrapper.clip_grad == expected


def test_a_detectors_images_have_more_sizes(boxes):
    def ratios(options):
        cfg, _ = resolve(boxes, 'selnext_atto', options)
        pipeline = cfg.train_dataloader.dataset.pipeline
        return next(t.ratio_range for t in pipeline if t.type == 'RandomResize')

    assert ratios(Options(image_size=64)) == (0.75, 1.25)
    assert ratios(Options(image_size=64, multi_scale=True)) == (0.5, 1.5)


def test_a_classifiers_batches_have_more_sizes(folders):
    cfg, _ = resolve(folders, 'selnext_atto', Options(image_size=96, multi_scale=True, seed=3))
    assert hook(cfg, 'BatchResizeHook') == dict(
        type='BatchResizeHook', schedule=[(0, [64, 96, 128])], seed=3
    )
    plain, _ = resolve(folders, 'selnext_atto', Options(image_size=96))
    assert hook(plain, 'BatchResizeHook') is None


def test_one_size_alone_is_no_multi_scale(folders):
    with pytest.raises(UserError, match='--multi-scale has no effect with --image-size 32'):
        resolve(folders, 'selnext_atto', Options(image_size=32, multi_scale=True))


def test_mixed_images_of_a_detector_hold_objects_of_several(boxes):
    cfg, _ = resolve(boxes, 'selnext_atto', Options(image_size=64, mix=True, epochs=20))
    assert hook(cfg, 'UnmixedImagesHook')['first_epoch'] == 17
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
    np.random.seed(0)
    random.seed(0)
    mixed = [dataset[i % len(dataset)] for i in range(60)]
    single = [len(dataset.dataset[i]['gt_bboxes']) for i in range(len(dataset))]
    assert max(len(s['data_samples'].gt_instances) for s in mixed) > max(single)
    dataset.update_skip_type_keys(('Mosaic', 'RandomAffine', 'MixUp'))
    for i, count in enumerate(single):
        assert len(dataset[i]['data_samples'].gt_instances) <= count


def test_mixed_images_of_a_classifier(folders):
    cfg, _ = resolve(folders, 'selnext_atto', Options(image_size=64, mix=True))
    assert [a.type for a in cfg.model.train_cfg.augments] == ['Mixup', 'CutMix']
    build_model(cfg)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(freeze=-1), '--freeze -1; expected 0 or more'),
        (dict(freeze=5, weights=__file__), '--freeze 5; expected 0 to 4'),
        (dict(freeze=1), '--freeze 1 would keep random values; name weights'),
        (dict(clip_grad=-0.5), '--clip-grad -0.5; expected 0 or more'),
    ],
)
def test_impossible_values_are_told(options, words):
    with pytest.raises(UserError, match=words):
        Options(**options).check()


def test_masks_are_not_mixed(masks):
    with pytest.raises(UserError, match=r'--mix puts images with boxes together.*faster_rcnn/'):
        resolve(masks, 'selnext_atto', Options(image_size=64, mix=True))


def test_the_hook_wants_its_data_set_and_workers_that_end():
    class Loader:
        dataset, persistent_workers = [], False

    class Runner:
        train_dataloader = Loader()

    with pytest.raises(ValueError, match='needs a MultiImageMixDataset, not list'):
        UnmixedImagesHook(3).before_train(Runner())
    Loader.dataset, Loader.persistent_workers = type('M', (), {'update_skip_type_keys': 0})(), True
    with pytest.raises(ValueError, match='persistent_workers=False'):
        UnmixedImagesHook(3).before_train(Runner())


@pytest.mark.slow
@pytest.mark.integration
def test_a_run_with_all_of_them(boxes, weights, tmp_path):
    """Two epochs, the second without mixing; the frozen stage stays as it began."""
    root = boxes.splits['train'].annotations
    result = selnext_mm.train(
        root.parent if (root.parent / 'annotations').is_dir() else tmp_path / 'boxes',
        'selnext_atto',
        out=tmp_path / 'out',
        epochs=2,
        image_size=64,
        batch_size=2,
        workers=0,
        weights=weights,
        freeze=1,
        multi_scale=True,
        mix=True,
        clip_grad=1.0,
        say=lambda text: None,
    )
    state = torch.load(result.checkpoint, weights_only=True)['state_dict']
    start = torch.load(weights, weights_only=True)['state_dict']
    stem, later = (f'backbone.downsample_layers.{place}.weight' for place in ('0.0', '3.1'))
    assert torch.equal(state[stem], start[stem])
    assert not torch.equal(state[later], start[later])
    log = ''.join(path.read_text() for path in result.work_dir.glob('*/*.log'))
    assert 'from here on without Mosaic, RandomAffine, MixUp' in log
    scalars = ''.join(p.read_text() for p in result.work_dir.glob('*/vis_data/scalars.json'))
    rows = [json.loads(row) for row in scalars.splitlines()]
    assert any('grad_norm' in row for row in rows)
