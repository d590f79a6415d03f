"""``hf://OWNER/REPO`` as the weights of every command that takes some, from the Hub's stand-in."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from selnext_mm.__main__ import main
from selnext_mm.checkpoints.files import load_file
from selnext_mm.cli.serve import build_parser, open_checkpoint
from selnext_mm.publish.folder import publish

ADDRESS = 'hf://me/pets@v1'
QUICK = ['--epochs=1', '--image-size=32', '--workers=0', '--batch-size=4']
FEW = ['--images=pets', '--num=2', '--size=32', '--json=OUT.json', '--out=OUT.png']
# What writes a result from weights: that of the address has to be that of the file.
SAME = {
    'predict': (['CONFIG', 'WEIGHTS', 'pets/train', '--out', 'OUT'], 'OUT/predictions.json'),
    'test': (
        ['CONFIG', 'WEIGHTS', '--out', 'OUT.json', '--work-dir', 'tested'],
        'OUT.classes.json',
    ),
    'export': (
        ['CONFIG', 'WEIGHTS', '--to', 'safetensors', '--out', 'OUT.safetensors'],
        'OUT.safetensors',
    ),
    'convert': (['WEIGHTS', 'OUT.safetensors', '--from', 'selnext_mm'], 'OUT.safetensors'),
    'cam': (['CONFIG', '--checkpoints', 'WEIGHTS', *FEW, '--method=gradcam'], 'OUT.json'),
    'gate-scales': (['--model', 'a=CONFIG@WEIGHTS', *FEW], 'OUT.json'),
    'feature-distance': (['--model', 'a=CONFIG@WEIGHTS', *FEW], 'OUT.json'),
    'publish': (['work', '--checkpoint', 'WEIGHTS', '--to', 'OUT'], 'OUT/model.safetensors'),
}
# What trains from weights: it says how many it took, and from where.
TRAINED = {
    'train with a config': ['train', 'CONFIG', '--epochs=1', '--weights', ADDRESS],
    'load_from': ['train', 'CONFIG', '--epochs=1', '--cfg-options', f'load_from={ADDRESS}'],
    'pretrained': ['train', 'CONFIG', '--epochs=1', '--cfg-options', f'pretrained={ADDRESS}',
                   'model.backbone.init_cfg.prefix=backbone.', 'load_from=None'],
    'train with labels': ['train', '--data=pets', 'selnext_yocto', *QUICK, '--weights', ADDRESS],
    'tune': ['tune', '--data=pets', 'selnext_yocto', *QUICK, '--weights', ADDRESS, '--trials=1'],
}  # fmt: skip


EXTRAS = {'cam': ('pytorch_grad_cam', 'analysis'), 'tune': ('optuna', 'tune')}


def needs(command: str) -> None:
    """Skip a test of a command whose library is missing."""
    if command in EXTRAS:
        library, extra = EXTRAS[command]
        pytest.importorskip(library, reason=f'pip install "selnext_mm[{extra}]" to run this')


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Images in class folders, a classifier trained on them, and the folder it is published as."""
    root = tmp_path_factory.mktemp('hub')
    for i in range(12):
        path = root / 'pets' / 'train' / ('cat', 'dog')[i % 2] / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (32, 32), (20 * i, 10, 10)).save(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv('SELNEXT_MM_CACHE', str(root / 'cache'))
        words = ['--data=pets', 'selnext_yocto', *QUICK, '--val=0.3', '--out', 'work']
        assert main(['train', *words]) == 0
        publish('work', 'published')
    return root


@pytest.fixture
def place(made, hub, tmp_path, monkeypatch):
    """An empty folder with the images, config and weights; the latter are on the Hub as well."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('SELNEXT_MM_CACHE', str(made / 'cache'))
    for name in ('pets', 'work', 'published'):
        (tmp_path / name).symlink_to(made / name)
    hub.add('me/pets', (made / 'published' / 'model.safetensors').read_bytes(), revision='v1')
    return tmp_path


def fetched(hub) -> int:
    """How often the weights were sent; the test fails if another file was asked for."""
    asked = [(method, path) for method, path, _ in hub.requests if path.startswith('/me/')]
    assert {path for _, path in asked} == {'/me/pets/resolve/v1/model.safetensors'}
    return sum(method == 'GET' for method, _ in asked)


@pytest.mark.parametrize('command', SAME)
def test_the_result_is_that_of_the_file(command, place, hub):
    needs(command)
    words, written = SAME[command]
    contents = []
    for name, weights in (('a', 'published/model.safetensors'), ('b', ADDRESS)):
        filled = [
            w.replace('CONFIG', 'work/config.py').replace('WEIGHTS', weights).replace('OUT', name)
            for w in words
        ]
        assert main([command, *filled]) == 0
        path = place / written.replace('OUT', name)
        if path.suffix == '.safetensors':
            contents.append(load_file(path))
        else:
            contents.append(json.loads(path.read_text().replace(weights, 'WEIGHTS')))
    one, other = contents
    assert one
    if path.suffix == '.safetensors':
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[key]) for key, value in one.items())
    else:
        same = one == other  # pytest takes minutes to explain a long list
        assert same
    assert fetched(hub) == 1


def test_the_server_answers_as_with_the_file(place, hub):
    picture = np.asarray(Image.open('pets/train/cat/4.png'))[..., ::-1]
    answers = []
    for weights in ('published/model.safetensors', ADDRESS):
        model = open_checkpoint(build_parser().parse_args(['work/config.py', weights]))
        found = model.find_prepared([model.prepare(picture)], [picture.shape[:2]])
        answers.append((model.classes, model.metadata['checkpoint_sha256'], found))
    assert answers[0] == answers[1]
    assert len(answers[0][2][0]) == 2
    assert fetched(hub) == 1


@pytest.mark.parametrize('case', TRAINED)
def test_training_starts_from_them(case, place, hub, capsys):
    needs(case)
    words = [w.replace('CONFIG', 'work/config.py') for w in TRAINED[case]]
    assert main([*words, '--out', 'new']) == 0
    text = ''.join(capsys.readouterr())
    logs = ''.join(p.read_text() for p in (place / 'new').rglob('*.log'))
    assert f'tensors from {ADDRESS}' in text + logs
    assert fetched(hub) == 1


@pytest.mark.parametrize(
    ('words', 'more'),
    [
        (['predict', 'hf://me/pets', 'pets/train', '--out', 'x'], 'predict DIR IMAGES'),
        (['predict', 'hf://me/pets@v1', 'pets/train', 'work', '--out', 'x'], '--revision v1 '),
        (['predict', 'hf://me/pets', 'hf://me/pets', 'pets', '--out', 'x'], 'predict DIR IMAGES'),
        (['test', 'hf://me/pets', 'hf://me/pets'], 'hf download me/pets --local-dir DIR'),
        (['train', 'hf://me/pets'], 'hf download me/pets --local-dir DIR'),
        (['export', 'hf://me/pets', 'hf://me/pets', '--to=safetensors', '--out=x.safetensors'], ''),
        (['serve', 'hf://me/pets', 'hf://me/pets@v1'], ''),
        (['serve', 'hf://me/pets'], ''),
    ],
)
def test_a_config_of_the_hub_is_not_run(words, more, place, hub, capsys):
    """It is Python: reading it would run a program of whoever wrote it."""
    config = f"open({str(place / 'planted')!r}, 'w')\nmodel = dict(type='ImageClassifier')\n"
    for revision in ('v1', 'main'):
        hub.add('me/pets', config.encode(), 'config.py', revision)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith(f'error: {words[1]}: a config is a program, and none is taken from ')
    assert more in error
    assert error.count('\n') == 1
    assert not (place / 'planted').exists()
    assert not (place / 'x').exists()
    assert hub.requests == []
