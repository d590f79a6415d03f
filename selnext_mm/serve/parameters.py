"""The parameters of ``/predict`` and ``/picture``: a detector has one, a classifier none."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Query, Request
from pydantic.json_schema import SkipJsonSchema

from selnext_mm.inference.output import SCORE_THR
from selnext_mm.serve.limits import RefusedError
from selnext_mm.text import short

PARAMETER = 'score_thr'
Score = Annotated[
    float | SkipJsonSchema[None],
    Query(
        ge=0,
        le=1,
        allow_inf_nan=False,
        description='lowest score of an object; by default the one that the model has for its '
        f'class, else {SCORE_THR}',
    ),
]


def check_names(request: Request, finds_objects: bool) -> None:
    """Refuse (422) a parameter that would have no effect."""
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if name == PARAMETER and not finds_objects:
            raise RefusedError(
                422,
                f'query.{name}: it is for detectors, and a classifier answers with its best '
                'classes, whatever their scores; leave it out',
            )
        if name != PARAMETER:
            known = PARAMETER if finds_objects else 'none'
            raise RefusedError(422, f'query.{short(name)}: no such parameter; known: {known}')
        if names.count(name) > 1:
            raise RefusedError(422, f'query.{name}: given {names.count(name)} times; give one')


def lowest_score(finds_objects: bool) -> Callable[..., float | None]:
    """A dependency that reads the lowest score of an object; None if there is none."""

    def of_detector(request: Request, score_thr: Score = None) -> float | None:
        check_names(request, True)
        return score_thr

    def of_classifier(request: Request) -> None:
        check_names(request, False)

    return of_detector if finds_objects else of_classifier
