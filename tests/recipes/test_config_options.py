"""The options that ``train CONFIG`` shares with ``train --data``: what they change in a config."""

import pytest
import torch

from selnext_mm.config.build import build_model
from selnext_mm.config.load import load_config
from selnext_mm.config.walk import LOADERS, iter_schedulers, loader_parts
from selnext_mm.errors import UserError
from selnext_mm.models import SELNeXt
from selnext_mm.recipes.config_options import ConfigOptions, set_options

pytest.importorskip('mmdet', reason='needs mmdet')
DETECTOR = 'mask_rcnn/selnext_t_3x_coco.py'
CLASSIFIER = 'cls/selnext_t_in1k.py'
MULTIRES = 'cls/patnet_t0_in1k.py'


def changed(name, **options):
    cfg = load_config(name)
    return cfg, set_options(cfg, ConfigOptions(**options))


def test_nothing_wished_changes_nothing():
    cfg, lines = changed(DETECTOR)
    assert lines == []
    assert cfg.pretty_text == load_config(DETECTOR).pretty_text


def test_milestones_stretch_with_the_epochs():
    cfg, lines = changed(DETECTOR, epochs=12)
    assert lines == ['12 epochs (was 36); everything counted in epochs is scaled to match']
    warmup, steps = (node for _, node in iter_schedulers(cfg))
    assert steps['milestones'] == [9, 11]
    assert (steps['begin'], steps['end']) == (0, 12)
    assert warmup == next(iter_schedulers(load_config(DETECTOR)))[1]  # counted in iterations
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval) == (12, 1)


def test_the_end_of_a_schedule_stays_the_end_of_the_run():
    cfg, _ = changed(CLASSIFIER, epochs=7)
    ends = [node['end'] for _, node in iter_schedulers(cfg) if node.get('by_epoch', True)]
    assert ends[-1] == 7
    assert all(1 <= end <= 7 for end in ends)
    single, _ = changed(DETECTOR, epochs=1)
    assert [n for _, n in iter_schedulers(single)][1]['milestones'] == [1]


@pytest.mark.parametrize(
    ('epochs', 'converted'), [(600, False), (250, False), (60, True), (1, True)]
)
def test_a_warm_up_shorter_than_an_epoch_still_rises(epochs, converted):
    """mmengine's LinearLR over one epoch keeps its first rate for the whole run."""
    cfg, _ = changed('cls/mobilenet_v3_l_se_in1k.py', epochs=epochs)
    warmup = next(node for _, node in iter_schedulers(cfg) if node['type'] == 'LinearLR')
    assert bool(warmup.get('convert_to_iter_based')) == converted
    assert warmup['end'] >= (1 if converted else 2)


def test_the_lr_follows_the_batch_unless_it_is_named():
    cfg, lines = changed(DETECTOR, batch_size=4)
    assert cfg.train_dataloader.batch_size == 4
    assert cfg.auto_scale_lr.enable
    assert lines[-1] == 'the lr scales with the batch size, relative to 16 (--lr)'
    cfg, lines = changed(DETECTOR, batch_size=4, lr=3e-4)
    assert not cfg.auto_scale_lr.enable
    assert cfg.optim_wrapper.optimizer.lr == 3e-4
    assert 'lr 0.0003 (was 0.0002)' in lines


def test_every_size_of_a_detectors_pipelines_follows():
    cfg, lines = changed(DETECTOR, image_size=667)
    assert lines == ['images of 667 pixels (was 1333); all sizes of the pipelines follow']
    found = {
        loader: [
            value
            for _, node, _ in loader_parts(cfg, loader)
            for key in ('scale', 'scales', 'crop_size')
            if (value := node.get(key))
        ]
        for loader in LOADERS
    }
    assert found['val_dataloader'] == found['test_dataloader'] == [(667, 400)]
    assert (192, 300) in found['train_dataloader']  # the crop, inside RandomChoice
    assert [(667, 200), (667, 250), (667, 300)] in found['train_dataloader']
    assert found['train_dataloader'][0][:2] == [(667, 240), (667, 256)]


def test_a_classifiers_sizes_follow_too():
    cfg, lines = changed(MULTIRES, image_size=112)
    assert lines == ['images of 112 pixels (was 224); all sizes of the pipelines follow']
    (hook,) = (h for h in cfg.custom_hooks if h['type'] == 'BatchResizeHook')
    assert hook['schedule'] == [(0, (64, 96, 128))]
    sizes = [n.get('crop_size') or n.get('scale') for _, n, _ in loader_parts(cfg, LOADERS[1])]
    assert [size for size in sizes if size] == [124, 112]


def test_workers_and_seed():
    cfg, _ = changed(DETECTOR, workers=0, seed=7)
    assert {cfg[loader].num_workers for loader in LOADERS} == {0}
    assert not any(cfg[loader].persistent_workers for loader in LOADERS)
    assert cfg.randomness.seed == 7


@pytest.mark.parametrize(
    ('name', 'metric'), [(DETECTOR, 'coco/segm_mAP'), (CLASSIFIER, 'accuracy/top1')]
)
def test_early_stopping_watches_the_configs_metric(name, metric):
    cfg, lines = changed(name, patience=5)
    (hook,) = (h for h in cfg.custom_hooks if 'EarlyStopping' in h['type'])
    assert (hook['monitor'], hook['patience']) == (metric, 5)
    assert lines == [f'early stopping after 5 evaluations without a better {metric}']
    assert set_options(cfg, ConfigOptions(patience=0)) == ['no early stopping']
    assert not any('EarlyStopping' in h['type'] for h in cfg.custom_hooks)


def test_weights_are_those_of_a_backbone_or_of_a_whole_model(tmp_path):
    state = {f'backbone.{k}': v for k, v in SELNeXt('atto').state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'backbone.pth')
    torch.save(dict(state_dict=state | {'neck.a': torch.zeros(1)}), tmp_path / 'whole.pth')
    cfg, (line,) = changed('mask_rcnn/selnext_atto_shapes.py', weights=str(tmp_path / 'whole.pth'))
    assert cfg.load_from == str(tmp_path / 'whole.pth')
    assert line.startswith('starts from all weights of ')
    cfg, _ = changed('mask_rcnn/selnext_atto_shapes.py', weights=str(tmp_path / 'backbone.pth'))
    assert not cfg.get('load_from')
    model = build_model(cfg)
    model.backbone.init_weights()
    for key, value in state.items():
        if key.removeprefix('backbone.') in model.backbone.state_dict():
            assert torch.equal(model.state_dict()[key], value), key


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(epochs=0), '--epochs 0; expected 1 or more'),
        (dict(image_size=8), '--image-size 8; expected 32 or more'),
        (dict(lr=1.5), '--lr 1.5; expected more than 0'),
        (dict(patience=-1), '--patience -1; expected 0 or more'),
    ],
)
def test_values_that_no_run_can_have_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        ConfigOptions(**options)


def test_what_a_config_has_no_place_for_is_refused():
    cfg = load_config(DETECTOR)
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=10, val_interval=10)
    with pytest.raises(UserError, match=r'does not count in epochs.*train_cfg\.max_iters'):
        set_options(cfg, ConfigOptions(epochs=3))
    cfg.val_evaluator = dict(type='DumpResults', out_file_path='x.pkl')
    cfg.default_hooks.checkpoint.pop('save_best', None)
    with pytest.raises(UserError, match='--patience: no metric'):
        set_options(cfg, ConfigOptions(patience=3))
    cfg.optim_wrapper.optimizer.pop('lr')
    with pytest.raises(UserError, match=r'has no optim_wrapper.optimizer.lr'):
        set_options(cfg, ConfigOptions(lr=0.1))


def test_a_segmentors_crops_are_left_to_its_config():
    cfg = load_config('upernet/selnext_t_ade20k.py')
    with pytest.raises(UserError, match=r'--image-size 256: .* crops'):
        set_options(cfg, ConfigOptions(image_size=256))
    set_options(cfg, ConfigOptions(patience=3))
    assert cfg.custom_hooks[-1]['monitor'] == 'mIoU'
