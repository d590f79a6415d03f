"""The convert command on state dicts of timm's ConvNeXt, and on the same with DINOv3's names."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from selnext_mm.__main__ import main
from selnext_mm.checkpoints.files import load_file, read_metadata
from selnext_mm.models import SELNeXt
from tests.checkpoints.keymaps.test_convnext import meta_names

timm = pytest.importorskip('timm', reason='pip install "selnext_mm[timm]" to run this')
BLOCKS = 12  # of atto: 2, 2, 6, 2


def convnext(linear: bool) -> nn.Module:
    """timm's ConvNeXt-atto with layer scales that matter; the fresh ones are 1e-6."""
    torch.manual_seed(0)
    model = timm.create_model('convnext_atto', num_classes=10, conv_mlp=not linear)
    for name, value in model.named_parameters():
        if name.endswith('gamma'):
            nn.init.normal_(value, std=0.3)
    return model.eval()


def timm_file(path):
    """What ``timm.create_model`` gives, as timm's training stores it."""
    model = convnext(linear=False)
    torch.save({'state_dict': model.state_dict(), 'arch': 'convnext_atto'}, path)
    return path, model


def dinov3_file(path):
    """DINOv3's file is a bare state dict: no head, and the last of its four norms twice."""
    model = convnext(linear=True)
    state = {k: v for k, v in meta_names(model.state_dict()).items() if not k.startswith('head')}
    state |= {f'norms.3.{part}': state[f'norm.{part}'] for part in ('weight', 'bias')}
    torch.save(state, path)
    return path, model


FILES = {'timm-convnext': timm_file, 'dinov3-convnext': dinov3_file}


def without_block_norms(model):
    """SELNeXt has none; whatever else is in ConvNeXt it has as well."""
    for stage in model.stages:
        for block in stage.blocks:
            block.norm = nn.Identity()
    return model


def read(path, model: SELNeXt) -> SELNeXt:
    """``model`` with all its tensors taken from ``path``."""
    state = load_file(path)['state_dict']
    state = {k.removeprefix('backbone.'): v for k, v in state.items() if 'head' not in k}
    model.load_state_dict(state)
    return model.eval()


@pytest.mark.parametrize('source', FILES)
def test_a_classifier_computes_what_the_file_holds(source, tmp_path, capsys):
    path, peer = FILES[source](tmp_path / 'in.pth')
    out = tmp_path / 'out.pth'
    assert main(['convert', str(path), str(out), '--from', source]) == 0
    text = capsys.readouterr().out
    assert f'dropped   {2 * BLOCKS}: ' in text
    assert "model     SELNeXt, arch='atto'" in text
    assert 'at init   backbone.stages.*.*.attention.*' in text
    assert ('head.fc.{weight,bias}' in text) == (source == 'dinov3-convnext')
    assert load_file(out)['meta']['source'] == source

    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        maps = without_block_norms(peer).forward_features(image)
        wanted = peer.head.norm(maps.mean((2, 3), keepdim=True)).flatten(1)
        (found,) = read(out, SELNeXt('atto', attention_cfg=None))(image)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    head = load_file(out)['state_dict'].get('head.fc.weight')
    assert head is None if source == 'dinov3-convnext' else torch.equal(head, peer.head.fc.weight)


@pytest.mark.parametrize('source', FILES)
def test_a_detectors_backbone_starts_by_the_line_that_the_report_prints(source, tmp_path, capsys):
    path, peer = FILES[source](tmp_path / 'in.pth')
    out = tmp_path / 'out.safetensors'
    line = ['convert', str(path), str(out), '--from', source, '--to', 'detection']
    assert main(line) == 0
    init_cfg = eval(capsys.readouterr().out.splitlines()[-1].split(' = ')[1], {'dict': dict})
    model = SELNeXt('atto', out_indices=(0, 1, 2, 3), init_cfg=init_cfg)
    gates = model.stages[2][5].attention.fc1.weight.clone()
    model.init_weights()
    wanted = peer.stages[2].blocks[5]
    assert torch.equal(model.stages[2][5].depthwise_conv.weight, wanted.conv_dw.weight)
    assert torch.equal(model.stages[2][5].gamma, wanted.gamma)
    assert not torch.equal(model.stages[2][5].attention.fc1.weight, gates)  # begun anew
    assert not any('norm3' in key or 'head' in key for key in load_file(out))
    assert read_metadata(out)['source'] == source


def test_a_safetensors_file_as_timm_publishes_it(tmp_path):
    path, model = timm_file(tmp_path / 'in.pth')
    save_file(model.state_dict(), tmp_path / 'model.safetensors')
    for name in (path.name, 'model.safetensors'):
        out = tmp_path / f'{name}.out.pth'
        assert main(['convert', str(tmp_path / name), str(out), '--from', 'timm-convnext']) == 0
    one, other = (load_file(p)['state_dict'] for p in sorted(tmp_path.glob('*.out.pth')))
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[key]) for key, value in one.items())


@pytest.mark.parametrize('source', FILES)
def test_a_file_of_the_other_source_is_refused_in_one_message(source, tmp_path, capsys):
    (other,) = FILES.keys() - {source}
    path, _ = FILES[other](tmp_path / 'in.pth')
    assert main(['convert', str(path), str(tmp_path / 'out.pth'), '--from', source]) == 2
    error = capsys.readouterr().err
    assert 'not from this source: ' in error
    assert error.count('\n') == 1
    assert not (tmp_path / 'out.pth').exists()
