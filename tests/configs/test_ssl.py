"""The recipes of masked pretraining are the documented ones, ConvNeXt V2's."""

import pytest

from selnext_mm.config.build import build_model
from selnext_mm.config.load import load_config

T, ATTO = 'ssl/selnext_t_fcmae_in1k.py', 'ssl/selnext_atto_fcmae_in1k.py'


@pytest.mark.parametrize('leaf', [T, ATTO])
def test_pretraining_is_the_published_one(leaf):
    cfg = load_config(leaf)
    optimizer = cfg.optim_wrapper.optimizer
    assert cfg.train_cfg.max_epochs == 1600
    assert cfg.auto_scale_lr.base_batch_size == 32 * cfg.train_dataloader.batch_size == 4096
    assert optimizer.lr == 1.5e-4 * 4096 / 256
    assert (optimizer.betas, optimizer.weight_decay) == ((0.9, 0.95), 0.05)
    warm_up, cosine = cfg.param_scheduler
    assert (warm_up.end, cosine.begin, cosine.end, cosine.T_max) == (40, 40, 1600, 1560)
    crop = next(s for s in cfg.train_dataloader.dataset.pipeline if s.type == 'RandomResizedCrop')
    assert (crop.scale, crop.crop_ratio_range) == (224, (0.2, 1.0))
    model = cfg.model
    assert (model.mask_ratio, model.patch_size) == (0.6, 32)
    assert (model.decoder_channels, model.decoder_depth) == (512, 1)
    assert model.head.norm_pix


@pytest.mark.parametrize(
    ('leaf', 'epochs', 'lr', 'decay', 'drop_path', 'smoothing', 'warm_up', 'mixed'),
    [
        ('ssl/selnext_t_fcmae_ft_in1k.py', 300, 8e-4, 0.05, 0.2, 0.1, 40, True),
        ('ssl/selnext_atto_fcmae_ft_in1k.py', 600, 2e-4, 0.3, 0.1, 0.2, 0, False),
    ],
)
def test_fine_tuning_is_the_published_one(
    leaf, epochs, lr, decay, drop_path, smoothing, warm_up, mixed
):
    cfg = load_config(leaf)
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[-1].end == epochs
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(lr * 1024 / 256)
    assert cfg.auto_scale_lr.base_batch_size == 1024
    assert cfg.optim_wrapper.optimizer.weight_decay == decay
    assert cfg.optim_wrapper.paramwise_cfg.layer_decay_rate == 0.9
    assert cfg.model.backbone.drop_path_rate == drop_path
    assert cfg.model.head.loss.label_smooth_val == smoothing
    assert sum(s.end for s in cfg.param_scheduler if s.type == 'LinearLR') == warm_up
    assert bool(cfg.model.get('train_cfg')) == mixed
    assert [hook.momentum for hook in cfg.custom_hooks if hook.type == 'EMAHook'] == [1e-4]


@pytest.mark.parametrize('size', ['t', 'atto'])
def test_the_two_models_of_a_size_have_the_same_backbone(size):
    models = [
        build_model(load_config(f'ssl/selnext_{size}_{x}_in1k.py')) for x in ('fcmae', 'fcmae_ft')
    ]
    first, second = ({k: v.shape for k, v in m.backbone.state_dict().items()} for m in models)
    assert first == second
