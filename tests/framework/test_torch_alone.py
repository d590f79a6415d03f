"""The models where torch is installed and OpenMMLab, torchvision and timm are not."""

import torch

from selnext_mm.models import AttentionMobileNetV3, PATNet, SELNeXt
from selnext_mm.models.attention import NAModule

from .without import ALL_BUT_TORCH, link_with_requirements, requirements_of, run_in, run_without

SMALL = dict(depths=[1, 1, 2, 1], channels=[16, 24, 32, 48])
CASES = {
    'SELNeXt': (SELNeXt, dict(arch=SMALL)),
    'SELNeXt detection': (SELNeXt, dict(arch=SMALL, out_indices=(1, 2, 3), linear_pw_conv=False)),
    'PATNet': (PATNet, dict(arch=SMALL, num_heads=6)),
    'AttentionMobileNetV3': (
        AttentionMobileNetV3,
        dict(width_mult=0.25, attention_cfg=dict(type='SELN', reduction=4, divisor=8)),
    ),
    'NAModule': (NAModule, dict(in_channels=3)),
}

CODE = """
import sys, torch
from selnext_mm import models
from selnext_mm.models import AttentionMobileNetV3, PATNet, SELNeXt
from selnext_mm.models.attention import NAModule

assert 'selnext_mm.framework.plain' in sys.modules
for kind, options, seed, initial, state, x, outputs in torch.load(sys.argv[1]):
    model = getattr(models, kind, NAModule)(**options)
    assert list(model.state_dict()) == list(state), kind
    if hasattr(model, 'init_weights'):
        torch.manual_seed(seed)
        model.init_weights()
        for name, value in model.state_dict().items():
            assert torch.equal(value, initial[name]), (kind, name)
    model.load_state_dict(state)
    with torch.no_grad():
        result = model.eval()(x)
    result = result if isinstance(result, tuple) else (result,)
    assert all(map(torch.equal, result, outputs)), kind
    sum(y.square().mean() for y in model.train()(x.repeat(2, 1, 1, 1))).backward()
known = {name.partition('.')[0] for name in sys.modules}
print('ended with', sorted(known & set(sys.argv[2].split(','))))
"""


def store_cases(path):
    """What the models of :data:`CASES` are and compute here, with mmengine."""
    stored = []
    for number, (kind, options) in enumerate(CASES.values()):
        model = kind(**options)
        if hasattr(model, 'init_weights'):
            torch.manual_seed(number)
            model.init_weights()
        initial = {name: value.clone() for name, value in model.state_dict().items()}
        for name, value in model.state_dict().items():
            if value.is_floating_point() and not name.endswith('running_var'):
                value.normal_(0, 0.2)
        x = torch.rand(1, 3, 64, 64)
        with torch.no_grad():
            result = model.eval()(x)
        outputs = result if isinstance(result, tuple) else (result,)
        state = model.state_dict()
        stored.append((kind.__name__, options, number, initial, state, x, outputs))
    torch.save(stored, path)
    return path


def test_same_tensors_same_start_and_same_numbers_as_with_mmengine(tmp_path):
    store_cases(tmp_path / 'cases.pth')
    result = run_without(
        ALL_BUT_TORCH, CODE, tmp_path / 'cases.pth', ','.join(ALL_BUT_TORCH), cwd=tmp_path
    )
    assert result.stdout == 'ended with []\n', result.stderr


def test_an_environment_with_torch_and_its_own_requirements_only(tmp_path):
    """Not hidden, but not there: numpy neither, which torch does not require."""
    folder = link_with_requirements('torch', tmp_path / 'packages')
    assert {'torch', 'sympy', 'jinja2'} <= requirements_of('torch')
    names = [*ALL_BUT_TORCH, 'numpy', 'yaml', 'packaging']
    names = sorted(set(names) - {path.name for path in folder.iterdir()})
    assert 'numpy' in names
    assert 'mmengine' in names
    code = f"""
from importlib.util import find_spec
assert [name for name in {names} if find_spec(name)] == []
{CODE}
import selnext_mm
print(selnext_mm.__file__)
"""
    cases = store_cases(tmp_path / 'cases.pth')
    result = run_in(folder, code, cases, ','.join(names), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f'ended with []\n{folder}/selnext_mm/__init__.py\n'


def test_pretrained_weights_load_and_are_counted(tmp_path):
    model = SELNeXt(SMALL)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'weights.pth')
    torch.save(model.state_dict(), tmp_path / 'bare.pth')
    code = """
import logging, torch
logging.basicConfig(level=logging.INFO, format='%(message)s')
from selnext_mm.models import SELNeXt
arch = dict(depths=[1, 1, 2, 1], channels=[16, 24, 32, 48])
for name in ('weights.pth', 'bare.pth'):
    model = SELNeXt(arch, init_cfg=dict(type='Pretrained', checkpoint=name))
    model.init_weights()
    state = torch.load('bare.pth')
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
"""
    result = run_without(ALL_BUT_TORCH, code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    total = len(model.state_dict())
    assert result.stderr == ''.join(
        f'SELNeXt: loaded {total} of {total} tensors from {name}\n'
        for name in ('weights.pth', 'bare.pth')
    )


CASES_OF_MORE = {
    'models.NAResNet': 'NAResNet derives from mmdet',
    'models.NAMobileNetV2': 'NAMobileNetV2 derives from mmpretrain',
    'SELNeXt(init_cfg=dict(type="Kaiming")).init_weights()': 'pip install mmengine',
    'SELNeXt(attention_cfg=dict(type="SELNN"))': 'did you mean SELN',
    'SELNeXt(init_cfg=dict(type="Pretrained", checkpoint="s3://a/b.pth")).init_weights()': (
        'read by mmengine, which is not installed'
    ),
    '__import__("selnext_mm.torchvision")': 'not installed: pip install torchvision',
    'selnext_mm.Session': "needs mmengine, which is not installed: pip install 'selnext_mm[mm]'",
}


def test_what_needs_more_says_so(tmp_path):
    code = f"""
import functools
import selnext_mm
from selnext_mm import models
SELNeXt = functools.partial(models.SELNeXt, dict(depths=[1], channels=[16]))
for code in {list(CASES_OF_MORE)!r}:
    try:
        eval(code)
        print('no error')
    except Exception as error:
        print(error)
"""
    result = run_without(ALL_BUT_TORCH, code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == len(CASES_OF_MORE)
    for line, words in zip(lines, CASES_OF_MORE.values(), strict=True):
        assert words in line
