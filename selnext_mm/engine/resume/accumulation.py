"""Gradients of an accumulation that a checkpoint falls into."""

from mmengine.dist import get_world_size


def at_update(runner) -> bool:
    """Did the last iteration update the weights? False in the middle of an accumulation."""
    return getattr(runner.optim_wrapper, 'should_update', lambda: True)()


def partial_gradients(runner) -> dict | None:
    """Gradients by parameter, if some wait for their update.

    Processes accumulate each its own, which are too large to gather: with several of them the
    resumed run loses the part, and says so.
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
    """Undo :func:`partial_gradients`."""
    for name, parameter in runner.model.named_parameters() if gradients else ():
        if name in gradients:
            parameter.grad = gradients[name].to(parameter)
