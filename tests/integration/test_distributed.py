"""Two gloo processes against one."""

import json
import os
import sys

import pytest
import torch
from torch.distributed.run import get_args_parser

from tests.integration.conftest import CONFIG, ROOT, SMALL, call

pytestmark = pytest.mark.integration

COMPARABLE = """
_base_ = {config!r}
custom_imports = dict(imports=['selnext_mm', 'tests.integration.ddp_pieces'])
sampler = dict(_delete_=True, type='FixedCountSampler', num=32, pos_fraction=0.25)
model = dict(
    train_cfg=dict(
        rpn=dict(sampler=dict(**sampler, add_gt_as_proposals=False)),
        rcnn=dict(sampler=dict(**sampler, add_gt_as_proposals=True)),
    )
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.02, weight_decay=0.0))
custom_hooks = [dict(type='WriteMeanLoss')]
"""


def losses(command, batch, name, shapes_root, folder):
    config = folder / 'comparable.py'
    config.write_text(COMPARABLE.format(config=str(CONFIG)))
    file = folder / f'{name}.jsonl'
    result = call(
        *(*command(config), '--work-dir', folder / name, '--data-root', shapes_root),
        *('--cfg-options', *SMALL, f'train_dataloader.batch_size={batch}'),
        cwd=folder,
        env=dict(
            PYTHONPATH=str(ROOT), LOSS_FILE=str(file), OMP_NUM_THREADS='1', PYTHON=sys.executable
        ),
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]
    return [json.loads(line) for line in file.read_text().splitlines()], result


@pytest.mark.slow
def test_two_processes_give_the_loss_curve_of_one(shapes_root, tmp_path):
    one, _ = losses(
        lambda config: (sys.executable, ROOT / 'tools/train.py', config),
        *(4, 'one', shapes_root, tmp_path),
    )
    two, result = losses(
        lambda config: (ROOT / 'tools/dist_train.sh', config, 2),
        *(2, 'two', shapes_root, tmp_path),
    )
    assert len(one) == len(two) == 8
    assert len(set(one)) == 8
    assert two == pytest.approx(one, rel=1e-4)
    assert (result.stdout + result.stderr).count('backend nccl becomes gloo') == 1
    states = [
        torch.load(tmp_path / name / 'epoch_2.pth', weights_only=True)['state_dict']
        for name in ('one', 'two')
    ]
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, rtol=1e-3, atol=1e-4, msg=key)


@pytest.mark.slow
def test_two_processes_train_and_test_the_cascade(shapes_root, tmp_path):
    """SyncBN in the heads, gloo, evaluation spread over both processes."""
    config = 'cascade_mask_rcnn/selnext_atto_shapes.py'
    env = dict(OMP_NUM_THREADS='1', PYTHON=sys.executable)
    train = call(
        *(ROOT / 'tools/dist_train.sh', config, 2, '--work-dir', 'work'),
        *('--data-root', shapes_root, '--cfg-options', *SMALL),
        cwd=tmp_path,
        env=env,
    )
    assert train.returncode == 0, train.stderr[-3000:]
    assert 'SyncBN becomes BN' in train.stdout + train.stderr
    test = call(
        *(ROOT / 'tools/dist_test.sh', config, 'work/epoch_2.pth', 2),
        *('--data-root', shapes_root, '--cfg-options', 'test_dataloader.num_workers=0'),
        cwd=tmp_path,
        env=env,
    )
    assert test.returncode == 0, test.stderr[-3000:]
    assert 'coco/segm_mAP' in test.stdout + test.stderr


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh'])
def test_scripts_say_how_they_are_called(script, tmp_path):
    result = call(ROOT / 'tools' / script, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith('usage: ')


@pytest.fixture
def slurm(tmp_path):
    """Stand-ins for srun and scontrol, which only a cluster has: they write down their call.

    srun ends with the statuses of the file ``codes``, one after the other, then with 0. The real
    one ends with the highest of all tasks. Where ``stopped`` follows, a task left its
    marker before.
    """
    (tmp_path / 'codes').touch()
    srun = """#!/bin/sh
echo "srun $@ restarts=${SELNEXT_MM_RESTARTS:-0}" >> calls
[ -e "$SELNEXT_MM_STOPPED_FILE" ] && exit 99
read -r code stopped <<END
$(head -n 1 codes)
END
sed -i 1d codes
[ -z "$stopped" ] || touch "$SELNEXT_MM_STOPPED_FILE"
exit ${code:-0}
"""
    for name, text in (('srun', srun), ('scontrol', '#!/bin/sh\necho "scontrol $@" >> calls\n')):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

    def submit(*codes, **env):
        (tmp_path / 'codes').write_text(''.join(f'{code}\n' for code in codes))
        result = call(
            *(ROOT / 'tools/slurm_train.sh', 'gpu', 'job', 'config.py', '--resume'),
            cwd=tmp_path,
            env={'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'GPUS': '4', **env},
        )
        assert not list(tmp_path.glob('.stopped*'))
        return result.returncode, (tmp_path / 'calls').read_text().splitlines()

    return submit


def test_slurm_script_starts_one_task_per_gpu(slurm):
    code, (line,) = slurm()
    assert code == 0
    assert '-p gpu --job-name=job --gres=gpu:4 --ntasks=4 --ntasks-per-node=4' in line
    assert '--signal=USR1@120' in line
    assert line.endswith('train.py config.py --launcher slurm --resume restarts=0')


def test_slurm_script_goes_on_after_a_stop(slurm):
    code, lines = slurm('75 stopped', '75 stopped', 0)
    assert code == 0
    assert [line.split()[-1] for line in lines] == ['restarts=0', 'restarts=1', 'restarts=1']


def test_slurm_script_requeues_a_batch_job(slurm):
    code, lines = slurm('75 stopped', ENVIRONMENT='BATCH', SLURM_JOB_ID='17')
    assert code == 0
    assert lines[1:] == ['scontrol requeue 17']


@pytest.mark.parametrize('code', [137, 143])
def test_slurm_script_goes_on_after_a_stop_that_killed_a_task(slurm, code):
    """The others were killed after the first had ended with 75: srun returns their status."""
    status, lines = slurm(f'{code} stopped')
    assert (status, len(lines)) == (0, 2)


@pytest.mark.parametrize('code', [137, 143])
def test_slurm_script_requeues_after_a_stop_that_killed_a_task(slurm, code):
    status, lines = slurm(f'{code} stopped', ENVIRONMENT='BATCH', SLURM_JOB_ID='17')
    assert (status, lines[1:]) == (0, ['scontrol requeue 17'])


def test_slurm_script_is_not_misled_by_the_victims_of_a_failure(slurm):
    """One task failed with 2, Slurm told the others to stop, and 75 is the highest status."""
    code, lines = slurm(75)
    assert (code, len(lines)) == (75, 1)


def test_slurm_script_believes_a_single_task(slurm):
    code, lines = slurm(75, GPUS='1')
    assert (code, len(lines)) == (0, 2)


@pytest.mark.parametrize('failure', [1, 2, 130])
def test_slurm_script_passes_failures_on(slurm, failure):
    code, lines = slurm(failure)
    assert code == failure
    assert len(lines) == 1


def test_torchrun_is_told_to_pass_sigusr1_on(tmp_path, monkeypatch):
    """By a variable that torch's own parser reads, or, in versions before it, the processes'."""
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\nenv > env.txt\n')
    python.chmod(0o755)
    call(ROOT / 'tools/dist_train.sh', 'config.py', 2, cwd=tmp_path, env=dict(PYTHON=str(python)))
    lines = (tmp_path / 'env.txt').read_text().splitlines()
    env = dict(line.split('=', 1) for line in lines if '=' in line)
    names = ['PET_SIGNALS_TO_HANDLE', 'TORCHELASTIC_SIGNALS_TO_HANDLE']
    assert all(env[name].split(',')[-1] == 'SIGUSR1' for name in names)
    monkeypatch.setenv(names[0], env[names[0]])
    options = get_args_parser().parse_args(['train.py'])
    if not hasattr(options, 'signals_to_handle'):
        pytest.skip('this torch has no option for it')
    assert 'SIGTERM' in options.signals_to_handle
    assert 'SIGUSR1' in options.signals_to_handle
