"""Models and pictures."""

from tests.small_models import broken, classifier, detector, pictures  # noqa: F401
