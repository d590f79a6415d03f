"""``train --wandb --mlflow --clearml`` with the libraries themselves, each without a network."""

import json
import sqlite3
import struct
import sys

import pytest

from tests.integration.conftest import CONFIG, call

pytestmark = pytest.mark.integration
for _name in ('wandb', 'mlflow', 'clearml'):
    pytest.importorskip(_name, reason=f'pip install -r requirements/loggers.txt for {_name}')

IMAGE = 'prediction_0_'


@pytest.fixture(scope='module')
def run(shapes_root, tmp_path_factory):
    """(work dir, home, scalars that mmengine itself has written) of a run for all three."""
    folder = tmp_path_factory.mktemp('logged')
    home = folder / 'home'
    home.mkdir()
    result = call(
        *(sys.executable, '-m', 'selnext_mm', 'train', CONFIG, '--data-root', shapes_root),
        *('--out', folder / 'run', '--epochs', 2, '--image-size', 64, '--workers', 0),
        *('--wandb', '--mlflow', '--clearml', '--show-predictions', 1),
        cwd=folder,
        env=dict(HOME=str(home), WANDB_MODE='offline', CLEARML_OFFLINE_MODE='1'),
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    (scalars,) = (folder / 'run').glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in scalars.read_text().splitlines()]
    (table,) = [line for line in lines if 'coco/bbox_mAP' in line]
    return folder / 'run', home, [line for line in lines if 'loss' in line], table


def test_mlflow_has_the_scalars_the_config_and_the_images(run):
    work, _, losses, table = run
    with sqlite3.connect(work / 'mlflow.db') as base:
        found = base.execute('select key, value, step from metrics').fetchall()
        name = base.execute('select name from runs').fetchone()
    values = {(key, step): value for key, value, step in found}
    assert values['coco/bbox_mAP', table['step']] == pytest.approx(table['coco/bbox_mAP'])
    for line in losses:
        assert values['loss', line['step']] == pytest.approx(line['loss'])
    assert name == ('run',)
    assert len(list(work.glob('mlflow/*/artifacts/config.py'))) == 1
    images = list(work.glob('mlflow/*/artifacts/*.png'))
    assert [image.name.startswith(IMAGE) for image in images] == [True]
    assert images[0].name.endswith(f'_{table["step"]}.png')


def wandb_records(path):
    """The records of a .wandb file: LevelDB's log format, in blocks of 32 KiB, after 7 bytes."""
    data, position, whole = path.read_bytes(), 7, b''
    while position + 7 < len(data):
        left = 32768 - position % 32768
        if left < 7:  # too little for a header
            position += left
            continue
        _, size, kind = struct.unpack('<IHB', data[position : position + 7])
        whole += data[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in (1, 4):  # complete, or the last part
            yield whole
            whole = b''


def test_wandb_has_the_scalars_and_the_images(run):
    from wandb.proto.wandb_internal_pb2 import Record

    work, _, losses, table = run
    (file,) = work.glob('*/vis_data/wandb/offline-run-*/run-*.wandb')
    history, started = {}, None
    for record in map(Record.FromString, wandb_records(file)):
        if record.HasField('run'):
            started = started or record.run
        for item in record.history.item:
            key = item.key or '/'.join(item.nested_key)
            history.setdefault(key, []).append(json.loads(item.value_json))
    assert (started.project, started.display_name) == ('selnext_mm', 'run')
    assert history['loss'] == pytest.approx([line['loss'] for line in losses])
    assert history['coco/bbox_mAP'] == [pytest.approx(table['coco/bbox_mAP'])]
    images = list(file.parent.glob('files/media/images/*.png'))
    assert [image.name.startswith(IMAGE) for image in images] == [True]


def test_clearml_has_the_scalars_and_the_images(run):
    _, home, losses, table = run
    (folder,) = (path for path in home.glob('.clearml/cache/offline/*') if path.is_dir())
    events = []
    for line in (folder / 'metrics.jsonl').read_text().splitlines():
        events += json.loads(line)
    values = {(e['metric'], e['iter']): e['value'] for e in events if 'value' in e}
    for line in losses:
        assert values['loss', line['step']] == pytest.approx(line['loss'])
    mean = values['coco/bbox_mAP', table['step']]
    assert mean == pytest.approx(table['coco/bbox_mAP'])
    assert any(str(e['metric']).startswith(IMAGE) for e in events if 'value' not in e)
    task = json.loads((folder / 'task.json').read_text())
    assert (task['name'], task['project_name']) == ('run', 'selnext_mm')
