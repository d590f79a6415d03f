"""The server's answers as pydantic models, which also give its OpenAPI description."""

from pydantic import BaseModel, Field


class Problem(BaseModel):
    """Why a request was refused, and what would be accepted."""

    detail: str


class Size(BaseModel):
    width: int
    height: int


class Segmentation(BaseModel):
    """A mask in COCO's compressed run-length encoding."""

    size: list[int] = Field(description='height, width')
    counts: str


class Annotation(BaseModel):
    """One object, with COCO's names."""

    id: int
    category_id: int
    category: str
    score: float
    bbox: list[float] = Field(description='x, y, width, height in pixels')
    segmentation: Segmentation | None = None


class Category(BaseModel):
    """One class of a classifier's answer."""

    category: str
    label: int
    score: float


class Prediction(BaseModel):
    """``annotations`` of a detector or ``classes`` of a classifier, best first."""

    image: Size
    annotations: list[Annotation] | None = None
    classes: list[Category] | None = None


class Health(BaseModel):
    status: str
    waiting: int = Field(description='requests in progress or waiting')


class About(BaseModel):
    """The model that is served."""

    name: str
    kind: str = Field(description='detector or classifier')
    runtime: str
    classes: list[str]
    category_ids: list[int] | None = None
    score_threshold: float | None = Field(
        None,
        description='below it the detector finds nothing, whatever score_thr is; not the score '
        'that counts if score_thr is not given: that is in class_thresholds, else 0.3',
    )
    class_thresholds: list[float] | None = Field(
        None,
        description='lowest score of each class in the answer if score_thr is not given; 0.3 '
        'where there are none',
    )
    checkpoint_sha256: str | None = None
    max_bytes: int
    max_pixels: int
