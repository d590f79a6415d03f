"""Images of equal names in two folders are two images."""

from types import SimpleNamespace

from selnext_mm.engine.hooks.show_subfolders import keep_subfolders


class Hook:
    """Writes as mmdet's hook does: the last part of the name in ``test_out_dir``."""

    def __init__(self, out):
        self.test_out_dir, self.written = out, []

    def after_test_iter(self, runner, batch_idx, data_batch, outputs):
        for sample in outputs:
            self.written.append(f'{self.test_out_dir}/{sample.img_path.rpartition("/")[2]}')


def test_the_folders_of_the_data_set_are_kept():
    hook = Hook('/out')
    dataset = SimpleNamespace(data_prefix=dict(img='/data/val/'))
    wrapped = SimpleNamespace(dataset=dataset)
    runner = SimpleNamespace(
        hooks=[object(), Hook(None), hook], test_dataloader=SimpleNamespace(dataset=wrapped)
    )
    keep_subfolders(runner)
    paths = ('/data/val/cam0/1.jpg', '/data/val/cam1/1.jpg', '/data/val/2.jpg', '/else/3.jpg')
    hook.after_test_iter(runner, 0, None, [SimpleNamespace(img_path=p) for p in paths])
    assert hook.written == ['/out/cam0/1.jpg', '/out/cam1/1.jpg', '/out/./2.jpg', '/out//3.jpg']
