"""A small detector and classifier with random weights, and images, as files: fixtures."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from PIL import Image

from selnext_mm.config.load import load_config
from selnext_mm.engine.device import adapt_to_device

SHAPES = ('circle', 'square', 'triangle', 'star', 'ring', 'cross')
CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
TINY = 'dict(_delete_=True, depths=[1, 1, 1, 1], channels=[16, 24, 32, 40])'


def save_model(folder, text: str, classes, seed=0) -> SimpleNamespace:
    """Config and checkpoint, written to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / 'config.py'
    config.write_text(text)
    cfg = load_config(config)
    adapt_to_device(cfg, 'cpu')
    torch.manual_seed(seed)
    if 'data_preprocessor' in cfg:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    model.init_weights()
    # Fresh gates and batch norms are too tame: let every image give something else.
    for name, value in model.state_dict().items():
        if name.endswith('gamma'):
            value.fill_(0.5)
        elif name.endswith('running_var'):
            value.uniform_(0.5, 2)
        elif name.endswith('running_mean'):
            value.normal_(0, 0.2)
    path = folder / 'model.pth'
    meta = dict(dataset_meta=dict(classes=tuple(classes))) if classes else {}
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    return SimpleNamespace(config=config, checkpoint=path, cfg=cfg, model=model.eval())


@pytest.fixture(scope='session')
def detector(tmp_path_factory):
    text = f"""
_base_ = '{CONFIGS}/mask_rcnn/selnext_atto_shapes.py'
model = dict(
    backbone=dict(arch={TINY}),
    neck=dict(in_channels=[16, 24, 32, 40]),
)
"""
    return save_model(tmp_path_factory.mktemp('detector'), text, SHAPES)


@pytest.fixture(scope='session')
def classifier(tmp_path_factory):
    text = f"""
_base_ = '{CONFIGS}/cls/patnet_t0_in1k.py'
model = dict(
    backbone=dict(arch={TINY}), neck=dict(in_channels=40), head=dict(num_classes=4)
)
"""
    return save_model(tmp_path_factory.mktemp('classifier'), text, ('ant', 'bee', 'cat', 'dog'))


@pytest.fixture
def pictures(tmp_path):
    """Folder with four good images of three sizes, and one of each kind of broken file."""
    folder = tmp_path / 'pictures'
    (folder / 'sub').mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name, size in {
        'a.jpg': (120, 90),
        'b.png': (90, 120),
        'sub/a.jpg': (120, 90),
        'sub/c.JPEG': (64, 64),
    }.items():
        noise = generator.integers(0, 255, (size[1] // 6, size[0] // 6, 3), dtype=np.uint8)
        Image.fromarray(noise).resize(size).save(folder / name, quality=95)
    (folder / 'notes.txt').write_text('no image')
    return folder


@pytest.fixture
def broken(pictures):
    """The same folder with four files that cannot be read."""
    whole = (pictures / 'a.jpg').read_bytes()
    (pictures / 'cut.jpg').write_bytes(whole[: len(whole) // 2])
    (pictures / 'empty.png').write_bytes(b'')
    (pictures / 'text.jpg').write_text('this is text')
    (pictures / 'folder.jpg').mkdir()
    return pictures
