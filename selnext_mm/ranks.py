"""The rank of this process, from the variables of its launcher; needs no torch."""

import os

RANKS = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')  # torchrun, Slurm, Open MPI


def is_first_process() -> bool:
    """Whether this is the first process of a distributed run, before the group is initialised."""
    return next((os.environ[name] for name in RANKS if name in os.environ), '0') == '0'
