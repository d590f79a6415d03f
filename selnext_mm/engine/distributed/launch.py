"""Starting a distributed run: environment variables, rendezvous and process group."""

import atexit
import gc
import os
from datetime import timedelta

import torch.distributed as dist
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device

from selnext_mm.engine.distributed.rendezvous import init_method
from selnext_mm.errors import UserError

# launcher -> (variables that it sets, our script that starts it)
LAUNCHERS = {
    'pytorch': (
        ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'),
        'tools/dist_train.sh or tools/dist_test.sh',
    ),
    'slurm': (('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST'), 'tools/slurm_train.sh'),
    'mpi': (('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'MASTER_ADDR'), 'mpirun'),
}
NUMBERS = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_PORT')
# Restart counts, set by torchrun, by Slurm and by tools/slurm_train.sh.
RESTARTS = ('TORCHELASTIC_RESTART_COUNT', 'SLURM_RESTART_COUNT', 'SELNEXT_MM_RESTARTS')


def started_again() -> bool:
    """Whether torchrun, Slurm or slurm_train.sh has restarted this job."""
    return any(int(os.environ.get(name) or 0) for name in RESTARTS)


def check_launcher(launcher: str) -> None:
    """Raise :class:`UserError` for an unknown launcher and for missing or wrong variables."""
    if launcher not in ('none', *LAUNCHERS):
        raise UserError(f'no launcher {launcher!r}; choose from none, {", ".join(LAUNCHERS)}')
    names, script = LAUNCHERS.get(launcher, ((), ''))
    if missing := [name for name in names if name not in os.environ]:
        raise UserError(
            f'--launcher {launcher}: {", ".join(missing)} not set in the environment; start the '
            f'processes with {script}, which sets it'
        )
    for name in NUMBERS:
        value = os.environ.get(name)
        if value is not None and not value.isdecimal():
            raise UserError(
                f'{name}={value!r} in the environment; expected a whole number. Unset it for a run '
                'of one process'
            )


def use_restart_safe_rendezvous(cfg: Config) -> None:
    """Make mmengine's initialisation of torchrun processes safe for restarted ones."""
    if cfg.get('launcher') == 'pytorch' and init_method() != 'env://':
        env = cfg.setdefault('env_cfg', ConfigDict())
        env.setdefault('dist_cfg', ConfigDict()).setdefault('init_method', init_method())


def init_cpu_group(cfg: Config) -> None:
    """Initialise the gloo group of torchrun's processes on a machine without an accelerator.

    mmengine's own code selects a GPU whatever the backend; it leaves an existing group alone.
    The group is destroyed before the interpreter exits. Otherwise a gloo thread that still holds a
    tensor aborts the finished process (https://github.com/pytorch/pytorch/pull/179291).

    Raises:
        UserError: for any other launcher, which would need mmengine's own code.
    """
    launcher = cfg.get('launcher', 'none')
    if launcher == 'none' or get_device() != 'cpu' or dist.is_initialized():
        return
    if launcher != 'pytorch':
        raise UserError(
            f'--launcher {launcher} needs an accelerator; on CPUs start with tools/dist_train.sh'
        )
    seconds = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout', 1800)
    dist.init_process_group('gloo', init_method=init_method(), timeout=timedelta(seconds=seconds))
    atexit.register(_leave_group)


def _leave_group() -> None:
    if not dist.is_initialized():
        return
    # Whoever drops the last reference to the group waits for its threads. Wrappers of finished
    # models hold one, too, but deleting them does not release the GIL. A thread that drops a tensor
    # needs the GIL, so both would wait forever. Deleting `group` does release it.
    group = dist.group.WORLD
    dist.destroy_process_group()
    gc.collect()
    del group
