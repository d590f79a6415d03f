"""Which of several processes this is, by the variables of its launcher. Needs no torch."""

import os

RANKS = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')  # torchrun, Slurm, Open MPI


def is_first_process() -> bool:
    """Is this process the one that speaks for a distributed run, before it is started?"""
    return next((os.environ[name] for name in RANKS if name in os.environ), '0') == '0'
