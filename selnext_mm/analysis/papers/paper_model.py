"""A printed row of a paper's table of classifiers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PaperModel:
    """One printed row: millions of parameters, billions of FLOPs, milliseconds, top-1 percent.

    ``family`` joins the sizes of one architecture; ``config`` is ours, empty for other models.
    """

    name: str
    family: str
    params: float
    flops: float
    latency: float
    accuracy: float
    config: str = ''
