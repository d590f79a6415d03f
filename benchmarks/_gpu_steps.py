"""What benchmarks/gpu.py does, in which order and for how long: data, in full and at toy size.

Needs the standard library alone: environment variables are set before torch is imported.
"""

from dataclasses import dataclass
from pathlib import Path

THEIRS = ('ConvNeXt-{} backbone', 'ConvNeXt-{} backbone@channels_last')
EAGER = (*THEIRS, 'SELNeXt-{} backbone@deploy')
TRAINED = (*THEIRS, 'SELNeXt-{} backbone')
COMPILED = (
    *('ConvNeXt-{} backbone@compile', 'ConvNeXt-{} backbone@compile@channels_last'),
    'SELNeXt-{} backbone@compile',
)
ALL_COMPILED = (*COMPILED, 'SELNeXt-{} backbone@deploy@compile')
LAYERS = ('SELNeXt-T backbone', 'SELNeXt-T backbone, layer by layer')
TOY_ROUNDS = ('--repeats', '2', '--warmup', '0', '--settle', '0')
TOY_CONVNEXT = (
    *('model.backbone.attention_cfg=None', 'model.backbone.block_norm_cfg.type=LN2d'),
    'model.backbone.block_norm_cfg.eps=1e-6',
)


@dataclass(frozen=True)
class Step:
    """A program of this folder with its arguments, which takes ``limit_s`` at most.

    Its result is the file ``NAME.json``; ``--json`` is not among the arguments.
    """

    name: str
    limit_s: float
    program: str
    argv: tuple[str, ...]


Run = tuple[str, tuple[str, ...]]  # program, arguments


def timing(
    program: str, rows: tuple[str, ...], more: tuple[str, ...], toy: bool, limit_s: float
) -> Run:
    """Rows of a suite; a quarter of ``limit_s`` is kept for timing those that have been built."""
    suite = 'toy' if toy else {'latency': 'fast', 'training': 'training'}[program]
    options = ('--suite', suite, '--rows', *rows, *more)
    options += ('--build-limit', str(int(0.75 * limit_s)))
    return program, (*options, *(TOY_ROUNDS if toy else ('--device', 'cuda')))


def labels(names: tuple[str, ...], sizes: str) -> tuple[str, ...]:
    return tuple(name.format(size) for size in sizes for name in names)


def backbones(toy: bool) -> dict[str, Run]:
    """Latency and training step of backbones, by name."""
    bf16 = ('--precision', 'bf16')
    if toy:
        compiled = labels((COMPILED[0], COMPILED[2]), 'A')
        latency = dict.fromkeys(('bf16', 'tf32', 'fp32'), labels(EAGER, 'A'))
        trained, all_compiled = labels(TRAINED, 'A'), compiled
        backend, tf32, in_graphs = ('--compile-backend', 'eager'), (), ()
        graphs = compiled
    else:
        compiled, all_compiled = labels(COMPILED, 'T'), labels(ALL_COMPILED, 'T')
        latency = dict.fromkeys(('tf32', 'fp32'), labels(EAGER, 'T'))
        latency['bf16'] = (*labels(EAGER, 'TSB'), *LAYERS)
        trained = labels(TRAINED, 'T')
        backend, tf32, in_graphs = (), ('--tf32',), ('--compile', 'reduce-overhead')
        graphs = ALL_COMPILED[1].format('T'), ALL_COMPILED[-1].format('T')
    runs = {
        'latency_bf16': ('latency', latency['bf16'], bf16),
        'latency_tf32': ('latency', latency['tf32'], tf32),
        'latency_fp32': ('latency', latency['fp32'], ()),
        'compiled_bf16': ('latency', all_compiled, (*bf16, *backend)),
        'training_bf16': ('training', trained, bf16),
        'training_compiled_bf16': ('training', compiled, (*bf16, *backend)),
        'graphs_bf16': ('latency', graphs, (*bf16, *backend, *in_graphs)),
    }
    return {name: timing(*run, toy, LIMITS[name]) for name, run in runs.items()}


def detectors(work: Path, coco: str, toy: bool) -> dict[str, Run]:
    """Trainings of Mask R-CNN, by name; the last goes on from a checkpoint of the first."""
    ours, theirs = (f'mask_rcnn/{name}_t_3x_coco.py' for name in ('selnext', 'convnext'))
    iterations, change, size = 40, (), ('--workers', '12')
    if toy:
        ours = theirs = 'mask_rcnn/selnext_atto_shapes.py'
        iterations, change = 4, TOY_CONVNEXT
        size = ('--batch', '2', '--workers', '0', '--cfg-options')
        size += ('train_dataloader.dataset.pipeline.3.scale=(64,64)',)

    def run(name: str, config: str, *more: str) -> Run:
        where = ('--data-root', coco, '--work-dir', str(work / name))
        return 'detector_training', (config, *where, '--iterations', str(iterations), *more)

    name = 'detector_selnext'
    checkpoint = work / name / f'iter_{iterations // 2}.pth'
    again = ('--resume', str(checkpoint), '--against', str(work / f'{name}.json'))
    return {
        name: run(name, ours, *size),
        'detector_convnext': run('detector_convnext', theirs, *size, *change),
        'resume': run('resume', ours, *again, *size),
    }


# In the order of their worth: what comes last is left out first when the time is over.
LIMITS = {
    'kernels': 110,
    'latency_bf16': 110,
    'training_bf16': 60,
    'compiled_bf16': 150,
    'detector_selnext': 90,
    'detector_convnext': 80,
    'latency_tf32': 45,
    'latency_fp32': 45,
    'resume': 60,
    'training_compiled_bf16': 120,
    'graphs_bf16': 90,
}


def plan(work: Path, coco: str, toy: bool) -> tuple[Step, ...]:
    """All steps.

    Args:
        work: folder for results on the way, checkpoints and logs.
        coco: COCO folder of the detectors.
        toy: for a CPU, in seconds.
    """
    interpreted = ('--device', 'cpu', '--precision', 'fp32', '--stages', '8x5')
    runs = {
        'kernels': ('gpu_kernels', (*interpreted, '--batch', '2') if toy else ()),
        **backbones(toy),
        **detectors(work, coco, toy),
    }
    return tuple(Step(name, limit, *runs[name]) for name, limit in LIMITS.items())
