"""A trained model on images: ``predict`` returns plain data, ``Predictor`` runs batches."""

__all__ = ['Predictor', 'predict']


def __getattr__(name: str):
    # Only these need torch; the lists of images and the files that are written do not.
    if name in __all__:
        from . import predictor

        return getattr(predictor, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
