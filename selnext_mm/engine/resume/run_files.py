"""Which files of a run may be removed, and when."""

import os
from collections import deque
from pathlib import Path


def is_in(path: str, folder: str) -> bool:
    """Whether ``path`` is directly in ``folder``; both may be URLs of a file backend."""
    parent = path.rpartition('/')[0]
    if '://' in path or '://' in folder:
        return parent == folder.rstrip('/')
    return os.path.realpath(parent or '.') == os.path.realpath(folder)


def check_lists(hub) -> None:
    """Drop the list of files in a resumed checkpoint if it is not a list of numbers.

    The names of files to remove are built from these numbers.
    """
    for key in ('keep_ckpt_ids', 'intermediate_ckpts'):
        steps = hub.get_info(key, [])
        if not isinstance(steps, list) or not all(type(s) is int and s >= 0 for s in steps):
            hub.update_info(key, [])


def forget_others(hook, hub, resumed: tuple[Path, dict] | None) -> None:
    """Of the files that the resumed checkpoint lists, keep only those in our folder.

    mmengine would remove the former best checkpoint, wherever it is.
    """
    if getattr(hook, 'best_ckpt_path', None) is not None:
        hook.best_ckpt_path = _own_best(hook, hook.best_ckpt_path)
    paths = getattr(hook, 'best_ckpt_path_dict', None) or {}
    for key, path in paths.items():
        paths[key] = _own_best(hook, path)
    if resumed is not None and not is_in(str(resumed[0]), hook.out_dir):
        hub.update_info('intermediate_ckpts', [])
        hub.update_info('keep_ckpt_ids', [])
        if hook.max_keep_ckpts > 0:
            hook.keep_ckpt_ids = deque(maxlen=hook.max_keep_ckpts)


def _own_best(hook, path) -> str | None:
    if not isinstance(path, str) or not path.rpartition('/')[2].startswith('best_'):
        return None
    if is_in(path, hook.out_dir):
        return path
    moved = hook.file_backend.join_path(hook.out_dir, path.rpartition('/')[2])
    return None if hook.file_backend.exists(path) else moved


class LateRemoval:
    """A file backend that postpones removals, because mmengine requests them too early."""

    def __init__(self, backend) -> None:
        self.backend, self.pending = backend, []

    def remove(self, path) -> None:
        self.pending.append((self.backend.remove, path))

    def rmtree(self, path) -> None:
        self.pending.append((self.backend.rmtree, path))

    def flush(self, spare: set) -> None:
        for remove, path in self.pending:
            if path not in spare:
                remove(path)
        self.pending.clear()

    def __getattr__(self, name: str):
        return getattr(self.backend, name)
