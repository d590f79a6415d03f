from pathlib import Path

import pytest
from mmengine.config import Config

from selnext_mm.config.load import (
    apply_pretrained,
    default_work_dir,
    expand_home,
    load_config,
    set_data_root,
)
from selnext_mm.config.walk import iter_datasets
from selnext_mm.errors import UserError


@pytest.mark.parametrize(
    ('path', 'expected'),
    [
        ('configs/mask_rcnn/selnext_t_3x_coco.py', 'work_dirs/mask_rcnn/selnext_t_3x_coco'),
        ('/a/configs/b/configs/cls/x.py', 'work_dirs/cls/x'),
        ('/home/me/project/my_config.py', 'work_dirs/project/my_config'),
    ],
)
def test_work_dir_keeps_the_folder(path, expected):
    assert default_work_dir(path) == expected


def test_two_configs_of_one_name_get_two_work_dirs():
    names = [f'configs/{folder}/selnext_t_3x_coco.py' for folder in ('mask_rcnn', 'cascade')]
    assert len({default_work_dir(n) for n in names}) == 2


def test_data_root_moves_every_dataset_and_evaluator():
    cfg = load_config('mask_rcnn/selnext_t_3x_coco.py')
    set_data_root(cfg, '/data/mine')
    datasets = list(iter_datasets(cfg))
    assert len(datasets) == 3
    assert {d['data_root'] for _, d in datasets} == {'/data/mine'}
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        assert evaluator.ann_file == '/data/mine/annotations/instances_val2017.json'


def test_data_root_reaches_wrapped_datasets_and_lists_of_evaluators():
    inner = dict(type='CocoDataset', data_root='old/', ann_file='a.json')
    cfg = Config(
        dict(
            train_dataloader=dict(
                dataset=dict(type='RepeatDataset', dataset=dict(type='Concat', datasets=[inner]))
            ),
            val_evaluator=[
                dict(type='CocoMetric', ann_file='old/a.json'),
                dict(type='CocoMetric', ann_file='/elsewhere/a.json'),
                dict(type='Accuracy'),
            ],
        )
    )
    set_data_root(cfg, 'new')
    assert cfg.train_dataloader.dataset.dataset.datasets[0].data_root == 'new'
    assert cfg.val_evaluator[0].ann_file == 'new/a.json'
    assert cfg.val_evaluator[1].ann_file == '/elsewhere/a.json'


def test_data_root_works_for_classification():
    cfg = load_config('cls/selnext_t_in1k.py')
    set_data_root(cfg, '/data/imagenet')
    assert {d['data_root'] for _, d in iter_datasets(cfg)} == {'/data/imagenet'}


@pytest.mark.parametrize('name', ['mask_rcnn/selnext_b_3x_coco.py', 'cls/selnext_t_in1k.py'])
def test_pretrained_is_one_variable(name):
    cfg = load_config(name, dict(pretrained='weights.pth'))
    assert cfg.model.backbone.init_cfg == dict(
        type='Pretrained', checkpoint='weights.pth', prefix='backbone.'
    )
    assert load_config(name).model.backbone.init_cfg.checkpoint is None


SWIN = 'mask_rcnn/swin_t_3x_coco.py'  # its recipe names published weights


@pytest.mark.parametrize(
    ('options', 'wanted'),
    [
        ({'model.backbone.init_cfg': None}, None),
        ({'model.backbone.init_cfg.checkpoint': 'mine.pth'}, 'mine.pth'),
        ({'model.backbone.init_cfg': None, 'pretrained': 'mine.pth'}, 'mine.pth'),
        ({'pretrained': 'mine.pth'}, 'mine.pth'),
    ],
)
def test_weights_that_options_name_replace_those_of_the_recipe(options, wanted, tmp_path):
    cfg = load_config(SWIN, options)
    for _ in range(2):
        init_cfg = cfg.model.backbone.init_cfg
        assert (init_cfg and init_cfg.checkpoint) == wanted
        # The config that a run leaves behind means the same.
        (tmp_path / 'kept.py').write_text(cfg.pretty_text)
        cfg = load_config(tmp_path / 'kept.py')


def test_a_config_without_weights_of_its_own_has_none(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(f"_base_ = 'selnext_mm::{SWIN}'\nmodel = dict(backbone=dict(init_cfg=None))")
    assert load_config(path).model.backbone.init_cfg is None
    assert load_config(path, {'pretrained': 'a.pth'}).model.backbone.init_cfg.checkpoint == 'a.pth'


def test_pretrained_needs_a_backbone():
    with pytest.raises(UserError, match='no backbone'):
        apply_pretrained(Config(dict(model=dict(type='X'), pretrained='a.pth')))


@pytest.mark.parametrize(
    'name',
    [
        'configs/mask_rcnn/selnext_t_3x_coco.py',
        'mask_rcnn/selnext_t_3x_coco.py',
        'selnext_mm::mask_rcnn/selnext_t_3x_coco.py',
    ],
)
def test_packaged_configs_are_found_from_any_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config(name).model.type == 'MaskRCNN'


@pytest.mark.parametrize(
    ('content', 'text'),
    [
        ('model = dict(', 'cannot read the config'),
        ('x = 1 / 0', 'ZeroDivisionError'),
        ("_base_ = 'mmdet::no/such.py'", 'cannot read the config'),
        ('x = 1', 'defines no model'),
    ],
)
def test_unreadable_configs_are_told(tmp_path, content, text):
    path = tmp_path / 'config.py'
    path.write_text(content)
    with pytest.raises(UserError, match=text):
        load_config(path)


@pytest.mark.parametrize(
    ('imports', 'words'),
    [
        ("['selnext_mm', 'my_missing_thing']", ["named 'my_missing_thing'"]),
        ("'my_missing_thing'", ["named 'my_missing_thing'"]),
        ("['needs_another']", ['needs_another', "named 'its_missing_need'"]),
    ],
)
def test_the_module_that_custom_imports_lack_is_named(imports, words, tmp_path, monkeypatch):
    (tmp_path / 'needs_another.py').write_text('import its_missing_need')
    (tmp_path / 'c.py').write_text(
        f'model = dict()\ncustom_imports = dict(imports={imports}, allow_failed_imports=False)'
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r'c\.py: custom_imports: .*doctor') as told:
        load_config(tmp_path / 'c.py')
    for word in words:
        assert word in str(told.value)


def test_a_missing_config_names_near_ones():
    with pytest.raises(UserError, match=r'did you mean .*mask_rcnn/selnext_t_3x_coco\.py'):
        load_config('configs/mask_rcnn/selnext_t_3x.py')


def test_options_that_do_not_fit_are_told():
    with pytest.raises(UserError, match='cfg-options'):
        load_config('mask_rcnn/selnext_t_3x_coco.py', {'param_scheduler.9.end': 1})


def test_a_leaf_holds_only_its_difference(root):
    leaves = [p for p in Path(root, 'configs').rglob('*.py') if '_base_' not in p.parts]
    assert len(leaves) > 10
    too_long = [p.name for p in leaves if len(p.read_text().splitlines()) > 25]
    assert too_long == []


def test_every_path_of_a_config_may_begin_with_a_tilde(monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    options = {
        'data_root': '~',
        'train_dataloader.dataset.data_prefix.img': '~/x/',
        'train_dataloader.dataset.metainfo.classes': ('~', 'b~/c'),
        'model.backbone.init_cfg': dict(type='Pretrained', checkpoint='~/w.pth'),
        'default_hooks.checkpoint.out_dir': '~/runs',
        'custom_hooks': [dict(type='EMAHook', path=('a', '~/b'))],
    }
    cfg = Config(dict(data_root='', custom_hooks=[]))
    cfg.merge_from_dict(options)
    expand_home(cfg)
    assert cfg.data_root == '/home/me'
    assert cfg.train_dataloader.dataset.data_prefix.img == '/home/me/x/'
    assert cfg.train_dataloader.dataset.metainfo.classes == ('~', 'b~/c')
    assert cfg.model.backbone.init_cfg.checkpoint == '/home/me/w.pth'
    assert cfg.default_hooks.checkpoint.out_dir == '/home/me/runs'
    assert cfg.custom_hooks[0].path == ('a', '/home/me/b')


@pytest.mark.parametrize('value', ['3', "'os'", "['os']", 'dict(imports=[3])', 'dict(names=3)'])
def test_custom_imports_of_another_form(value, tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(f"custom_imports = {value}\nmodel = dict(type='RetinaNet')\n")
    with pytest.raises(UserError, match=r'mine.py: custom_imports: expected dict\(imports='):
        load_config(path)


def test_a_module_of_custom_imports_that_fails_is_not_of_another_form(tmp_path, monkeypatch):
    (tmp_path / 'failing_module.py').write_text("raise TypeError('of its own')\n")
    path = tmp_path / 'mine.py'
    path.write_text("custom_imports = dict(imports=['failing_module'])\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match='TypeError: of its own'):
        load_config(path)
