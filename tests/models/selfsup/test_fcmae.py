"""The masked autoencoder: what it predicts, what counts, and that its weights go on elsewhere."""

import pytest
import torch
from mmengine.registry import MODELS
from torch.testing import assert_close

from selnext_mm.config.build import build_model, quiet
from selnext_mm.config.load import load_config
from selnext_mm.errors import UserError
from selnext_mm.inference.loading import load_for_inference
from selnext_mm.models.selfsup.masked import random_visible

pytest.importorskip('mmpretrain')
ARCH = dict(depths=(1, 1, 1, 1), channels=(16, 24, 32, 40))


def build(norm_pix=True, backbone=None, **kwargs):
    torch.manual_seed(0)
    cfg = dict(
        type='FCMAE',
        patch_size=16,
        decoder_channels=32,
        backbone=dict(
            type='SELNeXt',
            arch=ARCH,
            layer_scale_init_value=1.0,
            gap_before_final_norm=False,
            **(backbone or {}),
        ),
        head=dict(
            type='mmpretrain.MAEPretrainHead',
            norm_pix=norm_pix,
            loss=dict(type='mmpretrain.PixelReconstructionLoss', criterion='L2'),
        ),
        data_preprocessor=dict(type='mmpretrain.SelfSupDataPreprocessor'),
    )
    with quiet():
        model = MODELS.build({**cfg, **kwargs})
        model.init_weights()
    return model


def smooth_images(count, side=64):
    return torch.nn.functional.interpolate(
        torch.randn(count, 3, 4, 4), (side, side), mode='bicubic'
    )


def test_the_loss_is_the_error_over_the_hidden_patches_alone(monkeypatch):
    model, x = build(norm_pix=False), smooth_images(2)
    visible = random_visible(2, (4, 4), 0.6, x.device)
    monkeypatch.setattr(model, 'draw_mask', lambda images: visible)
    predicted = model.reconstruct(x, visible)
    assert predicted.shape == x.shape
    hidden = visible.repeat_interleave(16, 2).repeat_interleave(16, 3) == 0
    errors = ((predicted - x) ** 2).masked_select(hidden.expand_as(x))
    assert_close(model(x, None, mode='loss')['loss'], errors.mean())


def test_a_predicted_pixel_is_under_its_position():
    """Change what the decoder says for one position of the last map: one square changes."""
    model, x = build(), smooth_images(1)
    visible = torch.ones(1, 1, 4, 4)
    model.decoder = torch.nn.Identity()  # it mixes positions
    before = model.reconstruct(x, visible)
    changed = model.prediction.register_forward_pre_hook(
        lambda _, args: (args[0] + torch.tensor([[0.0, 1], [0, 0]]),)
    )
    after = model.reconstruct(x, visible)
    changed.remove()
    moved = (before != after).any(1)[0]
    assert moved[:32, 32:].all()
    assert moved.sum() == 32 * 32


@pytest.mark.parametrize('with_cp', [False, True])
def test_every_parameter_is_trained_and_the_loss_falls(with_cp):
    model, x = build(backbone=dict(with_cp=with_cp)), smooth_images(8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = model(x, None, mode='loss')['loss']
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    assert sum(losses[-5:]) / 5 < 0.8 * losses[0]


def test_it_trains_under_bfloat16_autocast():
    model, x = build(), smooth_images(2)
    with torch.autocast('cpu', torch.bfloat16):
        loss = model(x, None, mode='loss')['loss']
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize('leaf', ['cls/selnext_t_in1k.py', 'mask_rcnn/selnext_t_1x_coco.py'])
def test_what_was_trained_starts_a_classifier_and_a_detector(leaf, tmp_path, capfd):
    trained = build()
    with torch.no_grad():
        for parameter in trained.backbone.parameters():
            parameter.normal_()
    file = tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict=trained.state_dict()), file)
    cfg = load_config(leaf)
    cfg.model.backbone.update(arch=ARCH)
    cfg.model.backbone.init_cfg.checkpoint = str(file)
    cfg.model.backbone.drop_path_rate = 0
    if 'neck' in cfg.model:
        cfg.model.neck.in_channels = list(ARCH['channels'])
    else:
        cfg.model.head.in_channels = ARCH['channels'][-1]
    model = build_model(cfg)
    model.backbone.init_weights()
    ours, theirs = trained.backbone.state_dict(), model.backbone.state_dict()
    stages = [key for key in ours if not key.startswith('norm')]
    assert len(stages) > 50
    for key in stages:
        assert torch.equal(theirs[key], ours[key].to(theirs[key].dtype)), key


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(mask_ratio=1), 'mask_ratio=1; expected more than 0 and less than 1'),
        (dict(patch_size=6), 'patch_size=6; expected a multiple of 4, the stride of the stem'),
        (dict(decoder_depth=0), 'decoder_depth=0; expected 1 or more'),
        (dict(backbone=dict(type='mmpretrain.ResNet', depth=18)), 'knows SELNeXt'),
    ],
)
def test_wrong_arguments_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        build(**change) if 'backbone' not in change else build_with(change['backbone'])


def build_with(backbone):
    head = dict(
        type='mmpretrain.MAEPretrainHead',
        loss=dict(type='mmpretrain.PixelReconstructionLoss', criterion='L2'),
    )
    return MODELS.build(dict(type='FCMAE', backbone=backbone, head=head))


@pytest.mark.parametrize('shape', [(64, 96), (48, 48), (16, 16)])
def test_images_that_do_not_fit_the_cells_are_refused(shape):
    with pytest.raises(ValueError, match=f'images of {shape[1]} x {shape[0]} pixels; expected'):
        build()(torch.zeros(1, 3, *shape), None, mode='loss')


@pytest.mark.parametrize('checkpoint', [None, 'epoch_1.pth'])
def test_a_pretrained_model_does_not_pretend_to_predict(checkpoint, tmp_path):
    leaf = 'ssl/selnext_yocto_fcmae_cifar10.py'
    if checkpoint:
        checkpoint = tmp_path / checkpoint
        torch.save(dict(state_dict=build_model(load_config(leaf)).state_dict()), checkpoint)
    with pytest.raises(UserError, match='without labels: its FCMAE predicts nothing'):
        load_for_inference(leaf, checkpoint, 'cpu', ['a', 'b'])
    assert load_for_inference(leaf, checkpoint, 'cpu', named=False).model.backbone
