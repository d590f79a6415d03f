"""Decisions on which all processes of a run have to agree."""

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce, broadcast_object_list, get_backend, get_world_size


def highest(*numbers: int) -> list[int]:
    """The maximum of each number over all processes; every process has to call it."""
    if get_world_size() == 1:
        return list(numbers)
    device = 'cpu' if get_backend() == 'gloo' else get_device()
    votes = torch.tensor(numbers, dtype=torch.int64, device=device)
    all_reduce(votes, 'max')
    return votes.tolist()


def from_first(value):
    """``value`` of the first process, in every process."""
    box = [value]
    broadcast_object_list(box)
    return box[0]
