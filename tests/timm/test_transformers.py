"""transformers takes the models through timm: alone, and as the backbone of a detector; offline."""

import re

import pytest
import timm
import torch
from timm.models import save_for_hf
from torch.testing import assert_close

from tests.timm.models import SMALL

transformers = pytest.importorskip(
    'transformers',
    minversion='5.0',
    reason='install transformers>=5 (and its safetensors>=0.8) to run this',
)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)


def config(name='selnext_atto', **kwargs):
    return transformers.TimmBackboneConfig(backbone=name, **kwargs)


@pytest.mark.parametrize('name', SMALL)
def test_a_backbone_gives_the_maps_of_timm(name):
    ours = transformers.AutoBackbone.from_config(config(name, out_indices=[1, 2, 3])).eval()
    assert isinstance(ours, transformers.TimmBackbone)
    plain = timm.create_model(name, features_only=True, out_indices=(1, 2, 3)).eval()
    ours._backbone.load_state_dict(plain.state_dict())
    assert ours.channels == plain.feature_info.channels()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for a, b in zip(ours(x).feature_maps, plain(x), strict=True):
            assert_close(a, b, rtol=0, atol=0)


def test_the_weights_of_a_published_folder(tmp_path):
    """`local-dir:` is timm's word; folders of `selnext-mm publish` are read the same way."""
    model = timm.create_model('selnext_atto', num_classes=3).eval()
    save_for_hf(model, tmp_path, model_config=dict(num_classes=3), safe_serialization=True)
    ours = transformers.TimmBackbone.from_pretrained(f'local-dir:{tmp_path}', out_indices=[3])
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        (feature,) = ours.eval()(x).feature_maps
        assert_close(feature, model.forward_intermediates(x)[1][3], rtol=0, atol=0)


def test_a_detector_of_transformers_trains_with_it():
    small = dict(encoder_layers=1, decoder_layers=1, encoder_ffn_dim=32, decoder_ffn_dim=32)
    heads = dict(encoder_attention_heads=2, decoder_attention_heads=2)
    model = transformers.DetrForObjectDetection(
        transformers.DetrConfig(
            backbone_config=config(out_indices=[3]), d_model=32, num_queries=5, **small, **heads
        )
    )
    label = dict(class_labels=torch.tensor([1]), boxes=torch.tensor([[0.5, 0.5, 0.2, 0.2]]))
    result = model(torch.rand(1, 3, 64, 64), labels=[label])
    assert result.logits.shape[:2] == (1, 5)
    result.loss.backward()
    gates = {n: p for n, p in model.named_parameters() if 'stages.3' in n and 'gamma' not in n}
    assert gates
    assert all(p.grad is not None and p.grad.isfinite().all() for p in gates.values())


def test_the_block_of_the_page(root):
    page = (root / 'docs' / 'elsewhere.md').read_text()
    (block,) = (b for b in re.findall(r'```python\n(.*?)```', page, re.DOTALL) if 'Detr' in b)
    names = {}
    exec(block, names)
    assert names['backbone'].channels == [80, 160, 320]
    assert isinstance(names['detector'], transformers.DetrForObjectDetection)
