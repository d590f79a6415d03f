"""Run a trained model on images: ``predict`` returns plain data, ``Predictor`` runs batches,
``ServedPredictor`` is for a server (``serve/``).

Not here: exported files (``runtime/``), scores against labels (``evaluation/``).
"""

__all__ = ['Predictor', 'ServedPredictor', 'predict']


def __getattr__(name: str):
    # Only these need torch; listing images and writing files does not.
    if name == 'ServedPredictor':
        from . import served

        return served.ServedPredictor
    if name in __all__:
        from . import predictor

        return getattr(predictor, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
