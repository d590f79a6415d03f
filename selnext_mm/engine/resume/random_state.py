"""The states of all random generators of a process, in a form that a checkpoint can store."""

import random

import numpy as np
import torch


def get_random_state() -> dict:
    """States of python, numpy, torch and the current CUDA device: tensors and plain numbers.

    ``torch.load(weights_only=True)`` reads the result.
    """
    version, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state()
    state = dict(
        python=(version, torch.tensor(words, dtype=torch.int64), gauss),
        numpy=(torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached),
        torch=torch.get_rng_state(),
    )
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict) -> None:
    """Restore the states that :func:`get_random_state` returned."""
    version, words, gauss = state['python']
    random.setstate((version, tuple(words.tolist()), gauss))
    keys, position, has_gauss, cached = state['numpy']
    keys = keys.cpu().numpy().astype(np.uint32)
    np.random.set_state(('MT19937', keys, position, has_gauss, cached))
    torch.set_rng_state(state['torch'].cpu())
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())
