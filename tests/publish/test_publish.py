"""A run becomes a folder for the Hub, and the folder a model again."""

import hashlib
import json
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from selnext_mm.checkpoints.files import load_file, read_metadata
from selnext_mm.cli.export import main as export
from selnext_mm.cli.predict import main as predict
from selnext_mm.cli.publish import main
from selnext_mm.config.load import load_config
from selnext_mm.errors import UserError
from selnext_mm.inference.loading import load_for_inference
from selnext_mm.publish.folder import portable
from selnext_mm.publish.results import wilson
from tests.small_models import CONFIGS, save_model

SCORES = {'coco/bbox_mAP': 0.512, 'coco/bbox_mAP_l': -1.0, 'time': 3.0}


def as_run(folder, model, metrics):
    """The work dir of a run that left ``model``, a fixture of small_models."""
    folder.mkdir()
    (folder / 'config.py').write_text(model.cfg.pretty_text)
    shutil.copy(model.checkpoint, folder / 'best_x_epoch_3.pth')
    (folder / 'results.json').write_text(json.dumps(dict(metrics=metrics)))
    return folder


@pytest.fixture
def run(tmp_path, detector):
    return as_run(tmp_path / 'cells', detector, SCORES)


def test_a_detector_comes_back_with_weights_classes_and_predictions(
    run, tmp_path, detector, capsys
):
    out = tmp_path / 'out'
    assert main([str(run), '--to', str(out), '--repo', 'me/cells', '--licence', 'cc-by-4.0']) == 0
    text = capsys.readouterr().out
    assert 'hf upload me/cells' in text
    names = {'README.md', 'config.json', 'config.py', 'model.safetensors'}
    assert {p.name for p in out.iterdir()} == names | {'preprocessor_config.json'}

    state = load_file(out / 'model.safetensors')
    assert all(torch.equal(v, state[k]) for k, v in detector.model.state_dict().items())
    assert read_metadata(out / 'model.safetensors')['format'] == 'pt'
    again = load_for_inference(out / 'config.py', out / 'model.safetensors', 'cpu')
    assert again.classes == ('circle', 'square', 'triangle', 'star', 'ring', 'cross')
    pictures = json.loads((out / 'preprocessor_config.json').read_text())
    assert pictures['image_mean'] == pytest.approx([0.485, 0.456, 0.406], abs=1e-4)
    assert [s['op'] for s in pictures['pipeline']] == ['resize']

    card = (out / 'README.md').read_text()
    digest = hashlib.sha256((out / 'model.safetensors').read_bytes()).hexdigest()
    for words in (
        'license: cc-by-4.0',
        'pipeline_tag: object-detection',
        '| coco/bbox_mAP | 0.512 | not computed |',
        'hf://me/cells',
        'best_x_epoch_3.pth',
        digest,
    ):
        assert words in card
    assert '| time |' not in card
    assert 'bbox_mAP_l' not in card  # no object is that large


def sections(card):
    """Heading -> text of a card, without the block between the dashes."""
    parts = re.split(r'^## (.+)\n', card.split('---\n', 2)[2], flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize('repo', ['me/cells', None])
def test_the_card_has_every_section_with_its_content(run, tmp_path, repo):
    first = (run / 'config.py').read_text()
    trained = 'selnext-mm train --data cells --epochs 3 --seed 7'
    more = 'randomness = dict(seed=7)\n'
    (run / 'config.py').write_text(f'# Written by: {trained}\n{first}\n{more}')
    words = ['--repo', repo] if repo else []
    main([str(run), '--to', str(tmp_path / 'out'), '--licence', 'cc-by-4.0', *words])
    found = sections((tmp_path / 'out' / 'README.md').read_text())
    assert list(found) == ['Use', 'Data and recipe', 'Results', 'Limits', 'Files', 'Licence']

    weights = f'hf://{repo}' if repo else 'FOLDER'
    commands = re.search('```bash\n(.+?)```', found['Use'], re.S)[1].splitlines()
    assert [c.split(' #')[0].split(' IMAGES')[0].strip() for c in commands] == [
        *(
            ('pip install selnext_mm[mm,hub]', f'hf download {repo} --local-dir model')
            if repo
            else ('pip install selnext_mm[mm]',)
        ),
        f'selnext-mm predict {"model" if repo else "FOLDER"}',
        f'selnext-mm train --data DIR --weights {weights}',
    ]
    cfg = load_config(run / 'config.py')
    recipe = found['Data and recipe']
    assert re.search(r'^- data: CocoDataset, 6 classes; ', recipe, re.M)
    schedule = re.search('^- schedule: (.+)$', recipe, re.M)[1]
    assert f'{cfg.train_cfg.max_epochs} epochs' in schedule
    assert f'lr {cfg.optim_wrapper.optimizer.lr:g}' in schedule
    assert '- start: random weights\n' in recipe
    assert re.search(r'^- precision: .+; seed 7$', recipe, re.M)
    assert f'- command: `{trained}`\n' in recipe
    assert '| coco/bbox_mAP | 0.512 |' in found['Results']
    for words in ('only its classes', 'not calibrated', 'not tested for differences'):
        assert words in found['Limits']
    assert found['Licence'].strip() == (
        'Weights: cc-by-4.0, as their publisher chose. Code: Apache-2.0.'
    )


def test_no_path_of_this_machine_is_given_away(run, tmp_path):
    with open(run / 'config.py', 'a') as file:
        file.write("\nwork_dir = '/home/me/secret/run'\nload_from = '/home/me/x.pth'\n")
        file.write("train_dataloader = dict(dataset=dict(data_root='/home/me/data/cells'))\n")
    out = tmp_path / 'out'
    assert main([str(run), '--to', str(out)]) == 0
    for path in out.glob('*[!s]'):  # all but the weights
        assert '/home/me' not in path.read_text(), path
        assert str(tmp_path) not in path.read_text(), path
    cfg = load_config(out / 'config.py')
    assert cfg.train_dataloader.dataset.data_root == 'DATA/data/cells'
    assert cfg.get('load_from') is None


def test_the_same_run_makes_the_same_bytes(run, tmp_path):
    words = ['--dtype', 'float16', '--note', 'Drawn, not photographed.']
    for name in ('one', 'two', 'three'):
        assert main([str(run), '--to', str(tmp_path / name), *words]) == 0
    one, two, three = (
        {p.name: p.read_bytes() for p in (tmp_path / name).iterdir()}
        for name in ('one', 'two', 'three')
    )
    assert one == two == three


def test_half_precision_is_the_rounded_model_and_half_its_size(run, tmp_path, detector):
    first = (run / 'config.py').read_text()
    command = 'selnext-mm train --data=/home/me/cells /x.py --resume --out work_dirs/cells'
    (run / 'config.py').write_text(f'# Written by: {command}\n{first}')
    out = tmp_path / 'out'
    words = ['--dtype', 'float16', '--note', 'Drawn, not photographed.', '--note', 'CC0.']
    main([str(run), '--to', str(out), *words])
    whole = sum(v.numel() * v.element_size() for v in detector.model.state_dict().values())
    assert (out / 'model.safetensors').stat().st_size < 0.5 * whole + 100_000
    again = load_for_inference(out, out, 'cpu', deployed=False)
    assert again.classes == ('circle', 'square', 'triangle', 'star', 'ring', 'cross')
    state = again.model.state_dict()
    for key, value in detector.model.state_dict().items():
        wanted = value.half().float() if value.is_floating_point() else value
        assert state[key].dtype == value.dtype, key
        assert torch.equal(state[key], wanted), key
    card = (out / 'README.md').read_text()
    for words in (
        'Measured before the weights were rounded to float16.',
        'selnext-mm predict FOLDER IMAGES',
        '- Drawn, not photographed.\n- CC0.\n',
        '- command: `selnext-mm train --data=DATA/me/cells DATA/x.py --out work_dirs/cells`\n',
    ):
        assert words in card
    assert '/home/me' not in card


def test_a_weight_that_half_precision_cannot_hold(run, tmp_path):
    path = run / 'best_x_epoch_3.pth'
    content = torch.load(path)
    content['state_dict']['backbone.norm0.bias'][0] = 7e4
    torch.save(content, path)
    message = '--dtype float16: backbone.norm0.bias holds values beyond 65504; publish it in'
    with pytest.raises(UserError, match=message):
        main([str(run), '--to', str(tmp_path / 'out'), '--dtype', 'float16'])
    assert not (tmp_path / 'out').exists()


def test_predict_takes_the_folder_in_the_place_of_config_and_checkpoint(
    run, tmp_path, pictures, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    main([str(run), '--to', 'out'])
    images = [str(pictures / 'a.jpg'), str(pictures / 'b.png')]
    both = ['out/config.py', 'out/model.safetensors', *images]
    calls = dict(
        both=both,
        apart=[*both[:2], '--force', *images],
        folder=['out', *images],
        options_first=['--force', 'out', *images],
        options_between=['out', '--force', *images],
        twice=['out', 'out', *images],
    )
    results = set()
    for name, words in calls.items():
        assert predict([*words, '--out', name, '--no-pictures', '--device', 'cpu']) == 0
        results.add((tmp_path / name / 'results.json').read_text())
    assert len(results) == 1
    assert len(json.loads(results.pop())) > 2


def test_the_training_is_described_and_not_the_test_after_it(run, tmp_path, detector):
    session = run / '20260101_120000' / 'vis_data'
    session.mkdir(parents=True)
    text = (run / 'config.py').read_text()
    (session / 'config.py').write_text(text + "\nload_from = '/home/me/start.pth'\n")
    (run / 'config.py').write_text(text + "\nload_from = '/home/me/best_x_epoch_3.pth'\n")
    main([str(run), '--to', str(tmp_path / 'out')])
    card = (tmp_path / 'out' / 'README.md').read_text()
    assert '- start: weights of start.pth\n' in card


def test_a_later_test_in_the_folder_does_not_describe_the_training(run, tmp_path):
    text = (run / 'config.py').read_text()
    for day, start in (('20260101_120000', 'start.pth'), ('20260102_120000', 'best_x_epoch_3.pth')):
        data = run / day / 'vis_data'
        data.mkdir(parents=True)
        (data / 'config.py').write_text(f"{text}\nload_from = '/home/me/{start}'\n")
    (run / '20260101_120000' / 'vis_data' / 'scalars.json').write_text('')
    main([str(run), '--to', str(tmp_path / 'out')])
    assert '- start: weights of start.pth\n' in (tmp_path / 'out' / 'README.md').read_text()


def test_a_run_of_a_config_is_repeated_by_the_config_beside_the_card(run, tmp_path):
    main([str(run), '--to', str(tmp_path / 'out')])
    recipe = sections((tmp_path / 'out' / 'README.md').read_text())['Data and recipe']
    assert '- command: `selnext-mm train config.py`\n' in recipe


def test_a_run_from_weights_that_are_not_published_has_no_command(run, tmp_path):
    (run / 'config.py').write_text(f"{(run / 'config.py').read_text()}\nload_from = 'w.pth'\n")
    main([str(run), '--to', str(tmp_path / 'out')])
    recipe = sections((tmp_path / 'out' / 'README.md').read_text())['Data and recipe']
    assert 'command:' not in recipe


def test_a_resumed_run_tells_its_first_start_as_well(run, tmp_path):
    text = (run / 'config.py').read_text()
    resumed = "resume = True\nload_from = '/home/me/cells/epoch_2.pth'\n"
    for day, more in (('20260101_120000', ''), ('20260102_120000', resumed)):
        data = run / day / 'vis_data'
        data.mkdir(parents=True)
        (data / 'config.py').write_text(f'{text}\n{more}')
        (data / 'scalars.json').write_text('')
    main([str(run), '--to', str(tmp_path / 'out')])
    card = (tmp_path / 'out' / 'README.md').read_text()
    assert '- start: random weights; resumed from epoch_2.pth\n' in card


def test_a_run_of_a_comparison(tmp_path, classifier):
    run = as_run(tmp_path / 'run', classifier, {})
    (run / 'results.json').unlink()
    (run / 'best_x_epoch_3.pth').rename(run / 'weights.pth')
    (run / 'result.json').write_text(json.dumps(dict(top1=36.5, seed=0)))
    assert main([str(run), '--to', str(tmp_path / 'out')]) == 0
    card = (tmp_path / 'out' / 'README.md').read_text()
    assert 'From the test of the comparison' in card
    assert '| accuracy/top1 | 36.5 |' in card
    assert 'weights of `weights.pth`' in card


def test_the_published_weights_are_read_from_the_hub(run, tmp_path, detector, hub):
    out = tmp_path / 'out'
    main([str(run), '--to', str(out)])
    hub.add('me/cells', (out / 'model.safetensors').read_bytes())
    again = load_for_inference(out / 'config.py', 'hf://me/cells', 'cpu', deployed=False)
    assert again.classes == ('circle', 'square', 'triangle', 'star', 'ring', 'cross')
    state = again.model.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in detector.model.state_dict().items())


def test_export_takes_the_folder_and_its_address(run, tmp_path, hub):
    out = tmp_path / 'out'
    main([str(run), '--to', str(out)])
    hub.add('me/cells', (out / 'model.safetensors').read_bytes())
    digest = hashlib.sha256((out / 'model.safetensors').read_bytes()).hexdigest()
    for i, checkpoint in enumerate((str(out), 'hf://me/cells')):
        file = tmp_path / f'{i}.safetensors'
        assert export([str(out), checkpoint, '--to', 'safetensors', '--out', str(file)]) == 0
        assert read_metadata(file)['checkpoint_sha256'] == digest


def test_portable_paths():
    node = dict(a='/x/y/z.json', b=[('/x', 'rel/y')], c=3, d='/')
    assert portable(node) == dict(a='DATA/y/z.json', b=[('DATA/x', 'rel/y')], c=3, d='/')


def test_timm_takes_the_folder_of_a_classifier(tmp_path):
    timm = pytest.importorskip('timm', reason='install selnext_mm[timm] to run this')
    import selnext_mm.timm  # noqa: F401

    text = f"""
_base_ = '{CONFIGS}/cls/selnext_t_in1k.py'
model = dict(backbone=dict(arch='atto'), head=dict(num_classes=3, in_channels=320))
"""
    model = save_model(tmp_path / 'model', text, ('ant', 'bee', 'cat'))
    root = tmp_path / 'pictures'
    for i in range(40):
        path = root / ('ant', 'bee', 'cat')[i % 3] / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(path)
    data = dict(type='CustomDataset', data_prefix=str(root), pipeline=[], with_label=True)
    model.cfg.test_dataloader.dataset = data
    run = as_run(tmp_path / 'run', model, {'accuracy/top1': 90.0})
    out = tmp_path / 'out'
    assert main([str(run), '--to', str(out)]) == 0
    ours = timm.create_model(f'local-dir:{out}', pretrained=True).eval()
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours(x), model.model(x, mode='tensor'))
    card = (out / 'README.md').read_text()
    assert 'library_name: timm' in card
    assert '40 images' in card
    # 36 of 40 right, by the printed formula of Wilson: 76.9 to 96.0
    assert '| accuracy/top1 | 90 | 76.9 to 96.0 |' in card


def test_wilson_interval_has_its_defining_property():
    for share, count in ((0.5, 10), (0.9, 40), (0.0, 7), (1.0, 100)):
        for bound in wilson(share, count):
            # z = |p - bound| / sqrt(bound (1 - bound) / n) is 1.96 at both ends.
            deviation = (share - bound) ** 2 * count
            assert deviation == pytest.approx(1.959964**2 * bound * (1 - bound), abs=1e-6)


@pytest.mark.slow
def test_an_onnx_file_beside_it(tmp_path, classifier, capsys):
    pytest.importorskip('onnxscript', reason='install selnext_mm[export] to run this')
    run = as_run(tmp_path / 'run', classifier, {})
    assert main([str(run), '--to', str(tmp_path / 'out'), '--onnx']) == 0
    assert (tmp_path / 'out' / 'model.onnx').stat().st_size > 10_000
    card = (tmp_path / 'out' / 'README.md').read_text()
    assert 'No test was found' in card
    assert '- `model.onnx`: the same model without PyTorch' in sections(card)['Files']
    assert re.search(r'model\.onnx +\d', capsys.readouterr().out)
    Image.new('RGB', (8, 8)).save(tmp_path / 'one.png')
    more = ['--onnx', '--check-images', str(tmp_path / 'one.png')]
    with pytest.raises(UserError, match=r'is for a detector.*two is written, without model\.onnx'):
        main([str(run), '--to', str(tmp_path / 'two'), *more])
    assert (tmp_path / 'two' / 'model.safetensors').exists()


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['nowhere', '--to', 'out'], 'nowhere is not a folder; give the work dir of a run'),
        (['.', '--to', 'out', '--repo', 'name'], '--repo name; expected OWNER/REPO'),
        (['.', '--to', 'out', '--check-images', 'x'], '--check-images needs --onnx'),
        (['empty', '--to', 'out'], 'empty is not the work dir of a run'),
        (['bare', '--to', 'out'], 'bare holds no checkpoint'),
    ],
)
def test_mistakes(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'bare').mkdir()
    (tmp_path / 'bare' / 'config.py').write_text('model = dict(type="X")\n')
    with pytest.raises(UserError, match=re.escape(message)):
        main(words)
    assert not (tmp_path / 'out').exists()


def test_a_card_that_is_there_is_replaced_only_by_force(run, tmp_path):
    out = tmp_path / 'out'
    assert main([str(run), '--to', str(out)]) == 0
    (out / 'README.md').write_text('read and edited')
    before = {p: p.read_bytes() for p in out.iterdir()}
    with pytest.raises(UserError, match=r'holds a README\.md, which may have been edited; --force'):
        main([str(run), '--to', str(out)])
    assert before == {p: p.read_bytes() for p in out.iterdir()}
    assert main([str(run), '--to', str(out), '--force']) == 0
    assert '## Results' in (out / 'README.md').read_text()


def test_weights_of_an_earlier_run_get_no_card_of_the_last_one(run, tmp_path):
    """The bug: schedule and image size of the card were those of a run that came later."""
    best = run / 'best_x_epoch_3.pth'
    content = torch.load(best)
    content['meta'] = dict(content.get('meta') or {}, run_id='one', iter=30, epoch=3)
    torch.save(content, best)
    (run / 'run.json').write_text(json.dumps(dict(runs=[dict(id='two', until=None)])))
    with pytest.raises(UserError, match='of an earlier run than the last one in'):
        main([str(run), '--to', str(tmp_path / 'out')])
    assert not (tmp_path / 'out').exists()
    # A run that went on from it at iteration 30, or later, is the same.
    runs = [dict(id='one', until=30), dict(id='two', until=None)]
    (run / 'run.json').write_text(json.dumps(dict(runs=runs)))
    assert main([str(run), '--to', str(tmp_path / 'out')]) == 0
