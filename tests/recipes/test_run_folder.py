"""Which folder a run gets, that no other run gets it, and that a resumed run keeps its split."""

import shutil

import pytest

from selnext_mm.cli.train_data import parse_args, same_model
from selnext_mm.engine.resume import work_dir_lock
from selnext_mm.errors import UserError
from selnext_mm.recipes.folder import claimed, refuse_another_split, run_folder
from selnext_mm.recipes.options import Options
from selnext_mm.recipes.resolve import write_config
from selnext_mm.recipes.run import TrainResult, closing, plan, train
from tests.datasets.formats.writers import describe, write_coco2017

QUICK = dict(epochs=1, image_size=64, workers=0)


@pytest.fixture(autouse=True)
def _room(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(work_dir_lock, 'PATIENCE', 0.3)


@pytest.fixture
def labels(tmp_path):
    """Training images alone: whoever trains on them chooses those to validate on."""
    objects = [[('cat', 1, 1, 20, 20), ('dog', 30, 1, 20, 20)] for _ in range(10)]
    return write_coco2017(describe({'train': objects}), tmp_path / 'boxes')


def test_folders_of_runs_count_up(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = tmp_path / 'cells'
    data.mkdir()

    def folder(resume=False):
        return str(run_folder(data, 'faster_rcnn/selnext_t', resume))

    assert folder() == 'work_dirs/cells_faster_rcnn_selnext_t'
    with pytest.raises(UserError, match='--resume: no checkpoint in work_dirs/cells_faster'):
        folder(resume=True)
    for number in ('', '_2'):
        path = tmp_path / f'work_dirs/cells_faster_rcnn_selnext_t{number}'
        path.mkdir(parents=True)
        (path / 'last_checkpoint').write_text('x')
    assert folder() == 'work_dirs/cells_faster_rcnn_selnext_t_3'
    assert folder(resume=True) == 'work_dirs/cells_faster_rcnn_selnext_t_2'


def test_runs_that_start_together_get_folders_of_their_own(tmp_path):
    """The bug: the second took the folder of the first, which had no checkpoint yet."""
    run = ('cells', None, None, False)
    with claimed(*run) as (first, _), claimed(*run) as (second, _):
        assert (first.name, second.name) == ('cells_default', 'cells_default_2')
        assert second.is_dir()
    with claimed(*run) as (again, _):
        assert again == first  # it is empty: its run has ended without a checkpoint


def test_a_folder_with_a_name_is_refused_while_another_run_trains_in_it(labels, tmp_path):
    with claimed(labels, None, 'mine', False):
        before = sorted(tmp_path.rglob('*'))
        with pytest.raises(UserError, match=r'another training is running in mine'):
            train(labels, 'selnext_atto', out='mine', say=lambda line: None, **QUICK)
        assert sorted(tmp_path.rglob('*')) == before


def test_after_an_error_no_empty_folder_stays(tmp_path):
    with pytest.raises(UserError), claimed('cells', None, 'mine', False):
        raise UserError('no')
    assert not (tmp_path / 'mine').exists()


def prepared(labels, folder, seed=0, **options):
    cfg, lines, info = plan(labels, 'selnext_atto', Options(**QUICK, seed=seed), **options)
    return write_config(cfg, lines, folder, f'selnext-mm train --seed {seed}'), info


def test_a_resumed_run_keeps_its_split(labels, tmp_path):
    """The bug: it went on with another one, and the best score was still that of the first."""
    folder = tmp_path / 'run'
    _, info = prepared(labels, folder, seed=3)
    assert refuse_another_split(folder, info) is None
    for changed in (dict(), dict(seed=3, val=0.4)):
        with pytest.raises(UserError, match=r'other images.*selnext-mm train --seed 3') as error:
            prepared(labels, folder, resumed=folder, **changed)
        assert '--seed, --val and --format' in str(error.value)
    # The command, too, before anything is changed.
    (folder / 'epoch_1.pth').write_bytes(b'')
    before = (folder / 'config.py').read_bytes()
    with pytest.raises(UserError, match='other images to train and validate on'):
        train(labels, 'selnext_atto', out=folder, resume=True, **QUICK)
    assert (folder / 'config.py').read_bytes() == before


def test_copied_labels_are_the_same_split(labels, tmp_path, monkeypatch):
    _, old = prepared(labels, tmp_path / 'run')
    shutil.copytree(labels, tmp_path / 'moved' / 'boxes', copy_function=shutil.copyfile)
    _, new = prepared(tmp_path / 'moved' / 'boxes', tmp_path / 'other')
    assert new.cache != old.cache  # by the times of the images
    assert refuse_another_split(tmp_path / 'run', new) is None
    # In another cache, or after this one is cleared, the name of its folder tells.
    shutil.rmtree(old.cache)
    assert refuse_another_split(tmp_path / 'run', old) is None
    said = refuse_another_split(tmp_path / 'run', new)
    assert said.startswith('WARNING')
    assert '--seed, --val and --format' in said
    assert refuse_another_split(tmp_path / 'none', new) is None


def test_a_config_with_other_data_sets_is_not_taken_for_the_same_split(labels, tmp_path):
    config, info = prepared(labels, tmp_path / 'run')
    text = config.read_text(encoding='utf-8')
    config.write_text(f'{text}\nval_dataloader = None\n', encoding='utf-8')
    said = refuse_another_split(tmp_path / 'run', info)
    assert said.startswith('WARNING')
    assert 'names 1 label file, ' in said


def test_the_next_command_keeps_the_split_and_the_model():
    """The bug: without --seed, weights were validated on images that they had been trained on."""
    line = '--data d selnext_t --val 0.3 --seed 3 --format coco --workers 0 --freeze 0 --mix --lr 1'
    words = same_model(parse_args(line.split()))
    assert ' '.join(words) == (
        '--data d selnext_t --format coco --val 0.3 --seed 3 --mix --workers 0 --freeze 0'
    )
    assert same_model(parse_args(['--data', 'd'])) == ['--data', 'd']


def test_the_last_lines_name_each_file_of_predictions(tmp_path):
    files = tuple(tmp_path / f'results.{kind}.json' for kind in ('bbox', 'segm'))
    metrics = {'coco/bbox_mAP': 0.5}
    paths = (tmp_path / 'best.pth', tmp_path / 'config.py', files, tmp_path / 'results.json')
    text = closing(TrainResult(metrics, 'val', *paths, None, tmp_path), ['--data', 'd'])
    assert f'  predictions   {files[0]}\n                {files[1]}\n' in text
    assert f'  metrics       {tmp_path / "results.json"}\n' in text
