"""Length, learning rate, averaging and stopping of a recipe; docs/recipes.md has the reasons."""

import math

BASE_BATCH = 4  # the batch size that the rates below are meant for
SCRATCH_LR = 1e-3
FINE_TUNING_LR = 2e-4
CLASSIFIER_LR = 1e-3
CLASSIFIER_BATCH = 64
WEIGHT_DECAY = 0.05
WARMUP = 0.1  # share of the run
MOST_WARMUP = 500  # iterations
VALIDATIONS = 10  # at most, per run
SMALL_SET = 2000  # images; with fewer the weights are averaged
CLIP_GRAD = 5.0  # largest norm of an update's gradient
UNMIXED = 0.15  # share of the epochs at the end that see images as they are
LEAST_GAIN = 1e-4  # smallest improvement that counts; mmengine's 0.1 is a fifth of an AP of 0.5
AVERAGED = 100  # iterations over which the weights are averaged


def scaled_lr(lr: float, batch: int, base: int) -> float:
    """``lr * sqrt(batch / base)``: AdamW's lr for a batch size, rounded to two digits."""
    return float(f'{lr * math.sqrt(batch / base):.2g}')


def schedule_config(
    images: int,
    batch: int,
    epochs: int,
    lr: float,
    metric: str,
    patience: int,
    layer_decay: float,
    weight_decay: float | None = None,
    clip_grad: float | None = None,
) -> dict:
    """Optimizer, schedule and hooks for ``images`` training images.

    The lr rises from 1 % for a tenth of the run, at most 500 iterations, then falls to 0 along a
    cosine. A run of less than 15 iterations has no warm-up.

    ``metric`` chooses the best checkpoint and, with ``patience``, stops the run. The
    gradient's norm is clipped at ``clip_grad``, by default at :data:`CLIP_GRAD`; 0 clips nothing.
    """
    clip_grad = CLIP_GRAD if clip_grad is None else clip_grad
    weight_decay = WEIGHT_DECAY if weight_decay is None else weight_decay
    iterations = max(1, math.ceil(images / batch)) * epochs
    warmup = min(MOST_WARMUP, round(WARMUP * iterations))
    # mmengine's LinearLR takes end - begin - 1 steps: with an end of 1 the lr would never rise.
    rising = [dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warmup)]
    interval = math.ceil(epochs / VALIDATIONS)
    hooks = []
    if images < SMALL_SET:
        momentum = max(1 / AVERAGED, min(0.5, 20 / iterations))
        hooks.append(dict(type='EMAHook', momentum=momentum, priority='ABOVE_NORMAL'))
    if patience:
        hooks.append(
            dict(
                type='ResumableEarlyStoppingHook',
                monitor=metric,
                rule='greater',
                min_delta=LEAST_GAIN,
                patience=max(1, math.ceil(patience / interval)),
            )
        )
    return dict(
        train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=epochs, val_interval=interval),
        val_cfg=dict(type='ValLoop'),
        test_cfg=dict(type='TestLoop'),
        optim_wrapper=dict(
            type='OptimWrapper',
            constructor='LayerDecayOptimWrapperConstructor',
            paramwise_cfg=dict(layer_decay_rate=layer_decay),
            optimizer=dict(type='AdamW', lr=lr, betas=(0.9, 0.999), weight_decay=weight_decay),
            clip_grad=dict(max_norm=clip_grad) if clip_grad else None,
        ),
        param_scheduler=[
            *(rising if warmup > 1 else []),
            dict(
                type='CosineAnnealingLR',
                by_epoch=True,
                begin=0,
                end=epochs,
                T_max=epochs,
                eta_min=0.0,
                convert_to_iter_based=True,
            ),
        ],
        auto_scale_lr=dict(enable=False, base_batch_size=batch),
        custom_hooks=hooks,
        default_hooks=dict(
            timer=dict(type='IterTimerHook'),
            logger=dict(type='LoggerHook', interval=max(1, min(50, iterations // epochs // 2))),
            param_scheduler=dict(type='ParamSchedulerHook'),
            checkpoint=dict(
                type='SafeCheckpointHook',
                interval=interval,
                max_keep_ckpts=2,
                save_best=metric,
                rule='greater',
                every_minutes=10,
            ),
            sampler_seed=dict(type='DistSamplerSeedHook'),
            finite_loss=dict(type='FiniteLossHook'),
        ),
    )
