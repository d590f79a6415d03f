"""Training and testing from Python: what the commands do, with errors as exceptions."""

import logging
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

import selnext_mm
from selnext_mm import Session, UserError
from selnext_mm.config.load import load_config
from selnext_mm.engine.resume.work_dir_lock import WorkDirBusyError, WorkDirLock

CONFIG = 'mask_rcnn/selnext_atto_shapes.py'
SMALL = {
    'train_cfg.max_epochs': 1,
    'train_cfg.val_interval': 5,
    'param_scheduler.1.end': 2,
    'train_dataloader.batch_size': 8,
    **{f'{kind}_dataloader.num_workers': 0 for kind in ('train', 'val', 'test')},
}


@pytest.fixture(scope='module')
def trained(shapes_root, tmp_path_factory):
    """A session after one epoch of two iterations, and the checkpoint that it returned."""
    work_dir = tmp_path_factory.mktemp('session') / 'run'
    session = Session(CONFIG, shapes_root, work_dir, SMALL)
    before = session.cfg.to_dict()
    path = session.train(resume='if-any', auto_scale_lr=True, amp=True)
    assert session.cfg.to_dict() == before, 'the training has changed the config of the session'
    return session, path


def test_the_last_checkpoint_is_returned(trained):
    session, path = trained
    assert Path(path) == Path(session.cfg.work_dir, 'epoch_1.pth')
    assert Path(path).is_file()
    assert session.runner.iter == 2


def test_the_metrics_are_returned_and_written(trained, tmp_path):
    session, path = trained
    out = tmp_path / 'scores' / 'metrics.json'
    metrics = session.test(path, out=out)
    assert {'coco/bbox_mAP', 'coco/segm_mAP'} <= metrics.keys()
    assert session.written[0] == out
    assert all(file.is_file() for file in session.written)
    assert sorted(out.parent.iterdir()) == sorted(session.written)


def test_a_resumed_run_reads_its_checkpoint_once(trained, shapes_root, monkeypatch):
    session, _ = trained
    read, load = [], torch.load

    def counted(file, *args, **kwargs):
        # mmap leaves the weights on the disk.
        read.extend([file] * (not kwargs.get('mmap')))
        return load(file, *args, **kwargs)

    monkeypatch.setattr(torch, 'load', counted)
    content = Path.read_bytes
    opened = []
    monkeypatch.setattr(Path, 'read_bytes', lambda p: opened.append(p) or content(p))
    options = {**SMALL, 'train_cfg.max_epochs': 2}
    again = Session(CONFIG, shapes_root, session.cfg.work_dir, options)
    assert again.train(resume=True).endswith('epoch_2.pth')
    assert again.runner.iter == 4
    assert len(read) == 1
    assert [p.name for p in opened if p.suffix == '.pth'] == ['epoch_1.pth']
    assert not again.runner._handed_over
    # What is kept to train by again does not go on from a file of this run.
    kept = Config.fromfile(Path(session.cfg.work_dir, Path(CONFIG).name))
    assert (kept.load_from, kept.resume, kept.train_cfg.max_epochs) == (None, False, 2)


def test_a_test_reads_its_checkpoint_once(trained, monkeypatch):
    session, path = trained
    read, load = [], torch.load
    monkeypatch.setattr(
        torch, 'load', lambda file, *a, **k: read.append(file) or load(file, *a, **k)
    )
    session.test(path)
    assert [str(file) for file in read] == [path]


@pytest.mark.parametrize('name', [f'selnext_mm::{CONFIG}', CONFIG])
def test_the_config_may_be_named_as_configs_inherit_it(name, tmp_path):
    session = Session(name, work_dir=tmp_path / 'x')
    assert session.cfg.model.backbone.type == 'SELNeXt'
    assert not (tmp_path / 'x').exists()


def test_a_config_object_is_copied(tmp_path):
    cfg = load_config(CONFIG)
    session = Session(cfg, work_dir=tmp_path, options={'train_cfg.max_epochs': 3})
    assert session.cfg.train_cfg.max_epochs == 3
    assert cfg.train_cfg.max_epochs != 3
    assert cfg.get('work_dir') != str(tmp_path)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda root, work: Session('no-such-config'), 'there is no no-such-config in'),
        (lambda root, work: Session(CONFIG, options={'train_cfg.max_epochs.a': 1}), 'merge'),
        (lambda root, work: Session(CONFIG, root, __file__), '--work-dir'),
        (lambda root, work: Session(CONFIG, work / 'none', work).train(), 'is not where'),
        (lambda root, work: Session(CONFIG, root, work).train(resume='auto'), 'no checkpoint in'),
        (lambda root, work: Session(CONFIG, root, work).train(resume='a.pth'), 'no such file'),
        (lambda root, work: Session(CONFIG, root, work).test(work / 'a.pth'), 'no such file'),
        (lambda root, work: Session(CONFIG, root, work).test('a.pth', out='a.txt'), '--out'),
        (
            lambda root, work: Session(
                CONFIG, root, work, {'train_dataloader.batch_size': 'two'}
            ).train(),
            'batch_size',
        ),
    ],
)
def test_a_mistake_is_a_user_error_and_leaves_nothing(make, message, shapes_root, tmp_path):
    with pytest.raises(UserError, match=message):
        make(shapes_root, tmp_path)
    assert not list(tmp_path.iterdir())
    assert logging.root.manager.disable == 0


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda s: Session(3), 'Session: config=3; expected a string or a path or a Config'),
        (lambda s: Session(), "Session: missing a required argument: 'config'"),
        (lambda s: Session(CONFIG, data=''), "Session: .*unexpected keyword argument 'data'"),
        (
            lambda s: Session(CONFIG, data_root=3),
            'data_root=3; expected a string or a path or None',
        ),
        (lambda s: Session(CONFIG, work_dir=3), 'work_dir=3; expected'),
        (lambda s: Session(CONFIG, options=['a=1']), r"options=\['a=1'\]; expected a dict or None"),
        (lambda s: Session(CONFIG, launcher=None), 'launcher=None; expected a string'),
        (lambda s: Session(CONFIG, launcher='ssh'), "no launcher 'ssh'; choose from none, pytorch"),
        (lambda s: Session(CONFIG, check_data='no'), "check_data='no'; expected True or False"),
        (
            lambda s: s.train(resume=3),
            'Session.train: resume=3; expected a string or a path or True',
        ),
        (lambda s: s.train(amp='yes'), "amp='yes'; expected True or False"),
        (lambda s: s.train(auto_scale_lr=256), 'auto_scale_lr=256; expected True or False'),
        (lambda s: s.train(loggers='mlflow'), "loggers='mlflow'; expected a list of strings"),
        (lambda s: s.train(loggers=None), 'loggers=None; expected a list of strings'),
        (lambda s: s.train(show_predictions=2.5), 'show_predictions=2.5; expected a whole number'),
        (lambda s: s.test(None), 'Session.test: checkpoint=None; expected a string or a path'),
        (lambda s: s.test('a.pth', out=True), 'out=True; expected a string or a path or None'),
        (lambda s: s.test('a.pth', show_dir=1), 'show_dir=1; expected'),
        (lambda s: s.test('a.pth', classwise=1), 'classwise=1; expected True or False'),
        (lambda s: s.test('a.pth', fast_eval=1), 'fast_eval=1; expected True or False'),
        (lambda s: s.test('a.pth', tta=1), 'tta=1; expected True or False'),
        (lambda s: s.test('a.pth', slicing=640), 'slicing=640; expected a Slicing or None'),
    ],
)
def test_an_argument_of_the_wrong_kind(call, message, shapes_root, tmp_path):
    session = Session(CONFIG, shapes_root, tmp_path / 'work', SMALL)
    with pytest.raises(UserError, match=message):
        call(session)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('key', ['train_dataloader', 'optim_wrapper'])
def test_a_config_without_training_can_only_be_tested(key, tmp_path):
    cfg = load_config(CONFIG)
    cfg[key] = None
    with pytest.raises(UserError, match=f'cannot be trained: it has no {key}'):
        Session(cfg, work_dir=tmp_path).train()


def test_a_locked_folder_is_left_alone(shapes_root, tmp_path):
    session = Session(CONFIG, shapes_root, tmp_path, SMALL)
    other = WorkDirLock(tmp_path)
    other.acquire()
    with pytest.raises(WorkDirBusyError, match='another training'), session.lock(patience=0):
        raise AssertionError('it was let in')
    other.release()
    with session.lock(), session.lock(), pytest.raises(WorkDirBusyError):
        other.acquire(patience=0)
    other.acquire(patience=0)
    other.release()


@pytest.mark.integration
def test_what_the_page_shows_from_python(shapes_root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    load_config(CONFIG, SMALL).dump('my_config.py')
    Path('data').mkdir()
    Path('data/mine').symlink_to(shapes_root)
    page = (Path(__file__).parents[2] / 'docs' / 'training.md').read_text(encoding='utf-8')
    code = page.partition('## From Python')[2].partition('```python\n')[2].partition('```')[0]
    namespace = {}
    exec(code, namespace)
    assert namespace['session'].cfg.randomness.seed == 3
    assert namespace['session'].written[0].samefile('scores.json')
    assert Path(namespace['checkpoint']).name == 'epoch_1.pth'
    assert 'scores.json' in capsys.readouterr().out


def test_public_names_are_listed_without_loading_them():
    names = {'Session', 'UserError', 'check_data', 'export_model', 'train'}
    assert names <= set(dir(selnext_mm))
    assert {'__version__', 'register_modules'} <= set(dir(selnext_mm))
    assert set(selnext_mm.__all__) == names == set(selnext_mm.EXPORTS)


def test_a_public_name_says_what_is_missing_without_the_stack(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'mmengine'", name='mmengine')

    monkeypatch.setattr(selnext_mm, 'import_module', missing)
    with pytest.raises(ImportError, match=r"train needs mmengine.*pip install 'selnext_mm\[mm\]'"):
        _ = selnext_mm.train


def test_public_names_are_the_classes():
    assert selnext_mm.Session is Session
    assert issubclass(UserError, Exception)
    with pytest.raises(AttributeError, match='no_such_name'):
        selnext_mm.no_such_name  # noqa: B018
    assert isinstance(Session(Config(dict(model=dict()))).cfg, Config)
