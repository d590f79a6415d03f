"""Interrupted and resumed = never interrupted, bit for bit."""

import pytest
import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS

from tests.engine.toy import IMAGES, At, Killed, ToyData, assert_same, build, everything, kill

EVERY = dict(checkpoint=dict(every_iters=2))
EVERY_ONE = dict(default_hooks=dict(checkpoint=dict(every_iters=1)))


def run(folder, **options):
    runner = build(folder, **options)
    runner.train()
    return runner


def interrupted(folder, step, **options):
    with pytest.raises(Killed):
        run(folder, hooks=[At(step, kill)], **options)


def resumed(folder, **options):
    return run(folder, resume=True, **options)


@pytest.mark.parametrize('step', range(1, 15))
def test_killed_at_any_iteration(tmp_path, step):
    """15 iterations in 3 epochs; the evaluation after the second draws random numbers."""
    whole = everything(run(tmp_path / 'whole', default_hooks=EVERY))
    if step == 1:
        interrupted(tmp_path / 'parts', step, **EVERY_ONE)
    else:
        interrupted(tmp_path / 'parts', step, default_hooks=EVERY)
    assert_same(everything(resumed(tmp_path / 'parts', default_hooks=EVERY)), whole)


def test_killed_again_and_again(tmp_path):
    whole = everything(run(tmp_path / 'whole', default_hooks=EVERY))
    interrupted(tmp_path / 'parts', 3, default_hooks=EVERY)
    for step in (5, 6, 9, 12, 14):
        interrupted(tmp_path / 'parts', step, default_hooks=EVERY, resume=True)
    assert_same(everything(resumed(tmp_path / 'parts', default_hooks=EVERY)), whole)


@pytest.mark.parametrize('step', [3, 6, 8, 11])
def test_iteration_based(tmp_path, step):
    whole = everything(run(tmp_path / 'whole', iters=12, default_hooks=EVERY))
    interrupted(tmp_path / 'parts', step, iters=12, default_hooks=EVERY)
    assert_same(everything(resumed(tmp_path / 'parts', iters=12, default_hooks=EVERY)), whole)


@pytest.mark.parametrize('iters', [None, 12])
def test_seed_left_to_chance(tmp_path, iters):
    """The resumed process draws another seed first; its samplers have to take the old one."""
    options = dict(
        iters=iters,
        default_hooks=EVERY,
        randomness=dict(seed=None),
        train_dataloader=dict(sampler=dict(type='InfiniteSampler' if iters else 'DefaultSampler')),
    )
    runner = build(tmp_path / 'whole', **options)
    seed = runner.seed
    runner.train()
    interrupted(tmp_path / 'parts', 7, **{**options, 'randomness': dict(seed=seed)})
    again = resumed(tmp_path / 'parts', **options)
    assert_same(everything(again), everything(runner))


def test_with_workers_and_whatever_their_number(tmp_path):
    options = dict(default_hooks=EVERY, val=False, epochs=2)
    whole = run(tmp_path / 'whole', workers=2, **options)
    interrupted(tmp_path / 'parts', 7, workers=2, **options)
    again = resumed(tmp_path / 'parts', workers=1, **options)
    assert_same(everything(again), everything(whole))


def test_persistent_workers(tmp_path):
    loader = dict(train_dataloader=dict(num_workers=1, persistent_workers=True))
    options = dict(default_hooks=EVERY, val=False, **loader)
    whole = run(tmp_path / 'whole', **options)
    interrupted(tmp_path / 'parts', 9, **options)
    assert_same(everything(resumed(tmp_path / 'parts', **options)), everything(whole))


def test_the_passes_differ_in_augmentation(tmp_path):
    """mmengine seeds workers alike for each epoch; ours see new random numbers."""
    seen = {}

    class Keep(At):
        def __init__(self):
            pass

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            for image, index in zip(data_batch['inputs'], data_batch['index'], strict=True):
                seen.setdefault(int(index), []).append(image - int(index))

    run(tmp_path, workers=1, val=False, hooks=[Keep()], epochs=2)
    assert len(seen) == IMAGES
    assert all(not torch.equal(first, second) for first, second in seen.values())


@pytest.mark.parametrize('iters', [None, 12])
def test_what_was_trained_on_is_not_loaded_again(tmp_path, iters):
    options = dict(**EVERY_ONE, iters=iters, val=False)
    interrupted(tmp_path, 8, **options)
    ToyData.loaded.clear()
    runner = resumed(tmp_path, **options)
    assert runner.iter == (12 if iters else 15)
    assert len(ToyData.loaded) == 2 * (runner.iter - 8)


def test_more_epochs_than_at_first(tmp_path):
    whole = everything(run(tmp_path / 'whole', epochs=4))
    run(tmp_path / 'parts', epochs=2)
    assert_same(everything(resumed(tmp_path / 'parts', epochs=4)), whole)


def test_a_finished_run_stays_as_it_is(tmp_path):
    first = everything(run(tmp_path))
    again = everything(resumed(tmp_path))
    assert_same({**again, 'rng': first['rng']}, first)
    log = max(tmp_path.glob('*/*.log'), key=lambda path: path.stat().st_mtime_ns).read_text()
    assert 'nothing is left to train: 3 of 3 epochs are done' in log
    assert 'train_cfg.max_epochs' in log


def test_gradient_accumulation_across_the_checkpoint(tmp_path):
    """Epochs of five iterations, updates every two: the gradients of the fifth are pending."""
    options = dict(optim_wrapper=dict(accumulative_counts=2))
    whole = everything(run(tmp_path / 'whole', **options))
    interrupted(tmp_path / 'parts', 7, **options)
    assert_same(everything(resumed(tmp_path / 'parts', **options)), whole)


@OPTIM_WRAPPERS.register_module()
class ScaledOnCpu(AmpOptimWrapper):
    """mmengine's wrapper with a scaler that works without an accelerator, and grows quickly."""

    def __init__(self, **kwargs):
        OptimWrapper.__init__(self, **kwargs)
        self.loss_scaler = torch.amp.GradScaler('cpu', init_scale=2.0**120, growth_interval=2)
        self._scale_update_param = None

    optim_context = OptimWrapper.optim_context


def test_the_loss_scale(tmp_path):
    """It overflows at first, is halved until it fits, and grows every second iteration."""
    scaled = dict(optim_wrapper=dict(type='ScaledOnCpu'), **EVERY_ONE, val=False)
    scales = []
    keep = [
        At(step, lambda r: scales.append(r.optim_wrapper.loss_scaler.get_scale()))
        for step in (2, 15)
    ]
    whole = run(tmp_path / 'whole', hooks=keep, **scaled)
    assert scales[0] != scales[1]
    interrupted(tmp_path / 'parts', 8, **scaled)
    again = resumed(tmp_path / 'parts', **scaled)
    assert (
        again.optim_wrapper.loss_scaler.state_dict() == whole.optim_wrapper.loss_scaler.state_dict()
    )
    assert_same(everything(again), everything(whole))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_random_state_of_cuda():
    from selnext_mm.engine.resume.random_state import get_random_state, set_random_state

    state = get_random_state()
    first = torch.rand(5, device='cuda')
    set_random_state(state)
    assert torch.equal(torch.rand(5, device='cuda'), first)


def test_another_batch_size_goes_on_at_the_same_image(tmp_path):
    interrupted(tmp_path, 8, **EVERY_ONE, val=False)
    ToyData.loaded.clear()
    resumed(tmp_path, val=False, train_dataloader=dict(batch_size=5))
    # 3 of 5 batches were done in the second epoch, 6 images: one of 2 batches.
    assert len(ToyData.loaded) == 5 + IMAGES
