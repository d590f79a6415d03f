"""The convert command: report, outputs, and refusals that leave no file behind."""

import os

import pytest
import torch

from selnext_mm.__main__ import main
from selnext_mm.checkpoints.files import load_file
from selnext_mm.models.backbones.selnext import SELNeXt
from tests.oracles.official_selnext_keys import TOY, official_weights


@pytest.fixture
def folder(tmp_path):
    torch.save({'model': official_weights(*TOY)}, tmp_path / 'in.pth')
    return tmp_path


def convert(folder, *options, out='out.pth', source='selnext'):
    arguments = [str(folder / 'in.pth'), str(folder / out), '--from', source, *options]
    return main(['convert', *arguments])


def test_report_accounts_for_every_tensor(folder, capsys):
    assert convert(folder, '--to', 'detection') == 0
    text = capsys.readouterr().out
    entries = 20 + 13 * sum(TOY[0])
    assert f'{entries} in, {entries - 4} mapped, 4 dropped' in text
    assert 'dropped   2: final norm of the classifier' in text
    assert 'dropped   2: classification head' in text
    assert 'at init   backbone.norm{0..3}.{weight,bias}' in text
    assert 'arch=dict(depths=[1, 2, 3, 1], channels=[8, 16, 24, 32])' in text
    assert f'written   {folder / "out.pth"}' in text
    assert "prefix='backbone.')" in text


@pytest.mark.parametrize('prefix', ['module.', '_orig_mod.', 'module._orig_mod.', 'stages'])
def test_what_wrappers_put_into_the_names_is_taken_off(folder, prefix):
    """Of DistributedDataParallel, torch.compile, both, and of a compiled part."""
    assert convert(folder) == 0
    state = torch.load(folder / 'in.pth')['model']
    if prefix == 'stages':
        wrapped = {k.replace('stages.', 'stages._orig_mod.'): v for k, v in state.items()}
    else:
        wrapped = {prefix + k: v for k, v in state.items()}
    torch.save({'model': wrapped}, folder / 'in.pth')
    assert convert(folder, out='again.pth') == 0
    one, other = (load_file(folder / n)['state_dict'] for n in ('out.pth', 'again.pth'))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize('out', ['out.pth', 'out.safetensors'])
def test_output_is_read_by_the_init_cfg_that_the_report_prints(folder, capsys, out):
    assert convert(folder, '--to', 'detection', out=out) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    init_cfg = eval(line.split(' = ')[1], {'dict': dict})  # our own output
    depths, channels = TOY
    model = SELNeXt(
        arch={'depths': depths, 'channels': channels},
        out_indices=(0, 1, 2, 3),
        gap_before_final_norm=False,
        init_cfg=init_cfg,
    )
    model.init_weights()
    official = official_weights(*TOY)
    assert torch.equal(
        model.stages[2][1].attention.fc1.weight, official['stages.2.1.norm.conv_reduce.weight']
    )


def test_convnext_output_is_read_by_the_init_cfg_that_the_report_prints(folder, capsys):
    assert convert(folder, out='ours.pth') == 0
    state = load_file(folder / 'ours.pth')['state_dict']
    state = {k: v for k, v in state.items() if '.attention.' not in k}
    torch.save({'state_dict': state}, folder / 'in.pth')
    assert convert(folder, '--to', 'detection', source='convnext-mmpretrain') == 0
    text = capsys.readouterr().out
    assert 'at init   backbone.stages.*.*.attention.*' in text
    init_cfg = eval(text.splitlines()[-1].split(' = ')[1], {'dict': dict})  # our own output
    depths, channels = TOY
    model = SELNeXt(arch={'depths': depths, 'channels': channels}, init_cfg=init_cfg)
    model.init_weights()
    weight = state['backbone.stages.2.1.pointwise_conv1.weight']
    assert torch.equal(model.stages[2][1].pointwise_conv1.weight, weight)


def test_pth_output_has_the_openmmlab_layout(folder):
    assert convert(folder) == 0
    checkpoint = torch.load(folder / 'out.pth', weights_only=True)
    assert set(checkpoint) == {'meta', 'state_dict'}
    assert checkpoint['meta']['source'] == 'selnext'
    assert 'head.fc.weight' in checkpoint['state_dict']


def test_a_named_arch_is_recognised(tmp_path, capsys):
    state = official_weights((2, 2, 6, 2), (40, 80, 160, 320))
    torch.save(state, tmp_path / 'in.pth')
    assert convert(tmp_path) == 0
    assert "arch='atto'" in capsys.readouterr().out


def test_both_weights_take_model_and_name_the_flag(folder, capsys):
    model, ema = official_weights(*TOY, seed=0), official_weights(*TOY, seed=1)
    torch.save({'model': model, 'model_ema': ema}, folder / 'in.pth')
    assert convert(folder) == 0
    assert '--weights ema' in capsys.readouterr().out
    assert convert(folder, '--weights', 'model_ema', out='ema.pth') == 0
    for name, source in (('out.pth', model), ('ema.pth', ema)):
        state = load_file(folder / name)['state_dict']
        assert torch.equal(state['head.fc.weight'], source['head.weight'])


def test_an_existing_output_needs_force(folder, capsys):
    (folder / 'out.pth').write_text('precious')
    assert convert(folder) == 2
    assert '--force' in capsys.readouterr().err
    assert (folder / 'out.pth').read_text() == 'precious'
    assert convert(folder, '--force') == 0
    assert load_file(folder / 'out.pth')['meta']


def test_the_input_is_never_overwritten(folder, capsys):
    assert convert(folder, '--force', out='in.pth') == 2
    assert 'is the input itself' in capsys.readouterr().err


def without(key):
    return lambda state: state.pop(key)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda state: state.update(extra=torch.zeros(1)), 'extra'),
        (without('stages.1.0.pwconv2.bias'), 'pointwise_conv2.bias'),
        (lambda state: state.update({'norm.bias': torch.zeros(3)}), 'norm3.bias is (3,)'),
    ],
    ids=['unknown key', 'missing key', 'wrong shape'],
)
def test_a_bad_state_ends_in_one_message_and_no_file(folder, capsys, change, message):
    state = official_weights(*TOY)
    change(state)
    torch.save({'model': state}, folder / 'in.pth')
    assert convert(folder) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith('error: ')
    assert error.count('\n') == 1
    assert os.listdir(folder) == ['in.pth']


@pytest.mark.parametrize('size', [0, 20, 1000])
def test_a_bad_file_ends_in_one_message_and_no_file(folder, capsys, size):
    data = (folder / 'in.pth').read_bytes()
    (folder / 'in.pth').write_bytes(data[:size])
    assert convert(folder) == 2
    assert capsys.readouterr().err.count('\n') == 1
    assert os.listdir(folder) == ['in.pth']


def test_an_unknown_suffix_is_refused_before_reading(folder, capsys):
    assert convert(folder, out='out.onnx') == 2
    assert '.safetensors' in capsys.readouterr().err
    assert os.listdir(folder) == ['in.pth']


def test_a_missing_input_is_said_so(tmp_path, capsys):
    assert convert(tmp_path) == 2
    assert 'no such file' in capsys.readouterr().err
