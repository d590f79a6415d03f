"""Images with predictions of mmdet's hook in the subfolders that the data set has."""

import os

from mmengine.runner import Runner


def _root(runner: Runner) -> str | None:
    """The folder of the images of the test set."""
    dataset = runner.test_dataloader.dataset
    while not hasattr(dataset, 'data_prefix') and hasattr(dataset, 'dataset'):
        dataset = dataset.dataset
    prefix = getattr(dataset, 'data_prefix', None)
    prefix = prefix.get('img') if isinstance(prefix, dict) else None
    return os.path.abspath(prefix) if prefix else None


def keep_subfolders(runner: Runner) -> None:
    """Let ``cam0/1.jpg`` and ``cam1/1.jpg`` be two images; stock mmdet keeps the last part alone.

    Changes the ``DetVisualizationHook`` of ``runner``; inert without one.
    """
    for hook in runner.hooks:
        if not hasattr(hook, 'test_out_dir') or not hook.test_out_dir:
            continue
        stock, base = hook.after_test_iter, hook.test_out_dir

        def after_test_iter(runner, batch_idx, data_batch, outputs, hook=hook, stock=stock, b=base):
            root = _root(runner)
            for sample in outputs:
                folder = os.path.dirname(os.path.abspath(sample.img_path))
                inside = root and os.path.commonpath([root, folder]) == root
                hook.test_out_dir = os.path.join(b, os.path.relpath(folder, root) if inside else '')
                stock(runner, batch_idx, data_batch, [sample])

        hook.after_test_iter = after_test_iter
