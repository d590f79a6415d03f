"""A trained model on pictures: ``predict`` returns plain data, ``Predictor`` runs batches."""

from .predictor import Predictor, predict

__all__ = ['Predictor', 'predict']
