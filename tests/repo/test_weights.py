"""The trained weights of the repository: small, safe, described, and as good as their card says."""

import hashlib
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from selnext_mm.cli.predict import main as predict
from selnext_mm.config.load import load_config
from selnext_mm.errors import UserError
from tests.repo.test_packaging import tracked

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'weights'
CELLS = FOLDER / 'bccd_selnext_yocto'
FILES = {'README.md', 'config.json', 'config.py', 'model.safetensors', 'preprocessor_config.json'}
PUBLISHED = sorted(p.parent for p in FOLDER.glob('*/model.safetensors'))
MODELS = ('.pth', '.pt', '.ckpt', '.bin', '.pkl', '.onnx', '.h5', '.safetensors')


def test_nothing_else_in_the_repository_is_a_model():
    models = {name for name in tracked() if name.endswith(MODELS)}
    assert models == {f'weights/{p.name}/model.safetensors' for p in PUBLISHED}
    assert len(models) in (1, 2)


@pytest.mark.parametrize('folder', PUBLISHED, ids=lambda p: p.name)
def test_weights_are_small_and_what_their_card_says(folder):
    assert {p.name for p in folder.iterdir() if p.name != '__pycache__'} == FILES
    weights, card = folder / 'model.safetensors', (folder / 'README.md').read_text()
    assert weights.stat().st_size < 5_000_000
    assert hashlib.sha256(weights.read_bytes()).hexdigest() in card
    with safe_open(weights, 'pt') as file:
        tensors = [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118 - no mapping
        classes = json.loads(file.metadata()['classes'])
    assert {t.dtype for t in tensors} <= {torch.float16, torch.int64}
    assert classes == json.loads((folder / 'config.json').read_text())['label_names']
    for words in ('license: mit', 'seed 0', '- command: `selnext-mm train', 'BCCD', 'float16'):
        assert words in card
    for path in folder.glob('*[!s]'):  # all but the weights
        assert not re.search(r'/(root|home|tmp|work)/', path.read_text()), path
    load_config(folder)


def labelled(path: Path) -> list[tuple[str, list[int]]]:
    """(class, [x1, y1, x2, y2]) of a Pascal VOC file."""
    corners = ('xmin', 'ymin', 'xmax', 'ymax')
    return [
        (o.findtext('name'), [int(o.findtext(f'bndbox/{c}')) for c in corners])
        for o in ET.parse(path).iter('object')
    ]


def iou(a, b) -> float:
    width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    if min(width, height) <= 0:
        return 0.0
    areas = sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
    return width * height / (areas - width * height)


def test_the_first_prediction_finds_the_labelled_cells(tmp_path, capsys):
    pytest.importorskip('mmdet', reason='needs mmdet')
    truth = labelled(FOLDER / 'blood_cells.xml')
    assert {name for name, _ in truth} == {'Platelets', 'RBC', 'WBC'}
    words = [str(CELLS), str(FOLDER / 'blood_cells.jpg'), '--out', str(tmp_path / 'found')]
    assert predict([*words, '--device', 'cpu']) == 0
    assert '3 classes, named by the checkpoint' in capsys.readouterr().out
    assert (tmp_path / 'found' / 'pictures' / 'blood_cells.jpg').is_file()
    content = json.loads((tmp_path / 'found' / 'predictions.json').read_text())
    names = {c['id']: c['name'] for c in content['categories']}
    drawn = [a for a in content['annotations'] if a['score'] >= 0.5]
    hits = 0
    # The best first, each for the label that it fits best; a label is found once.
    for a in sorted(drawn, key=lambda a: -a['score']):
        x, y, w, h = a['bbox']
        overlaps = [(iou(box, (x, y, x + w, y + h)), i) for i, (_, box) in enumerate(truth)]
        same = [o for o in overlaps if truth[o[1]][0] == names[a['category_id']]]
        best, index = max(same, default=(0, 0))
        if best >= 0.5:
            hits += 1
            del truth[index]
    assert hits >= 0.8 * (hits + len(truth)), f'not found: {truth}'
    assert hits >= 0.8 * len(drawn), f'{len(drawn)} boxes are drawn, {hits} of them on a cell'


def test_another_training_starts_from_the_folder():
    from selnext_mm.recipes.options import Options
    from selnext_mm.recipes.resolve import start_of

    Options(weights=str(CELLS)).check()
    assert start_of(str(CELLS)).whole == str(CELLS), 'weights of a whole detector'
    with pytest.raises(UserError, match='no such file'):
        Options(weights=str(FOLDER)).check()


@pytest.mark.realdata
@pytest.mark.integration
def test_the_weights_reach_what_their_card_says(tmp_path, monkeypatch, bccd_root):
    from selnext_mm.datasets.formats import find_dataset
    from selnext_mm.engine.session import Session

    monkeypatch.setenv('SELNEXT_MM_CACHE', str(tmp_path / 'cache'))
    test = find_dataset(bccd_root).splits['test']
    cfg = load_config(CELLS)
    cfg.test_dataloader.dataset.update(
        ann_file=str(test.annotations), data_prefix=dict(img=str(test.image_root))
    )
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.test_evaluator.ann_file = str(test.annotations)
    metrics = Session(cfg, work_dir=tmp_path / 'work').test(str(CELLS))
    card = dict(
        re.findall(r'^\| (coco/bbox_mAP\w*) \| ([\d.]+) ', (CELLS / 'README.md').read_text(), re.M)
    )
    assert len(card) >= 3
    for key in ('coco/bbox_mAP', 'coco/bbox_mAP_50', 'coco/bbox_mAP_75'):
        assert metrics[key] == pytest.approx(float(card[key]), abs=0.002), key
