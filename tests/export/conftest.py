"""Models and pictures."""

from tests.small_models import classifier, detector, pictures  # noqa: F401
