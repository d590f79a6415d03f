"""Gradients of an accumulation during which a checkpoint is saved."""

from mmengine.dist import get_world_size


def at_update(runner) -> bool:
    """Whether the last iteration updated the weights; False in the middle of an accumulation."""
    return getattr(runner.optim_wrapper, 'should_update', lambda: True)()


def partial_gradients(runner) -> dict | None:
    """Gradients by parameter, if some have been accumulated but not yet applied.

    Each process accumulates its own, and they are too large to gather. So a resumed run of several
    processes loses this part, and logs it.
    """
    if at_update(runner):
        return None
    if get_world_size() > 1:
        runner.logger.warning(
            'this checkpoint is in the middle of a gradient accumulation: resuming from it drops '
            'the gradients so far. Let accumulative_counts divide the iterations of an epoch'
        )
        return None
    parameters = runner.model.named_parameters()
    return {name: p.grad.cpu().clone() for name, p in parameters if p.grad is not None}


def put_gradients(runner, gradients: dict | None) -> None:
    """Restore what :func:`partial_gradients` returned."""
    for name, parameter in runner.model.named_parameters() if gradients else ():
        if name in gradients:
            parameter.grad = gradients[name].to(parameter)
