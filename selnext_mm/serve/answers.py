"""What the server says: the models of its answers, which are its OpenAPI as well."""

from pydantic import BaseModel, Field


class Problem(BaseModel):
    """Why a request was refused, and what would be served."""

    detail: str


class Size(BaseModel):
    width: int
    height: int


class Segmentation(BaseModel):
    """COCO's compressed run lengths."""

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
    """Of a detector ``annotations``, of a classifier ``classes``; best first."""

    image: Size
    annotations: list[Annotation] | None = None
    classes: list[Category] | None = None


class Health(BaseModel):
    status: str
    waiting: int = Field(description='requests that are served or wait')


class About(BaseModel):
    """The model that is served."""

    name: str
    kind: str = Field(description='detector or classifier')
    runtime: str
    classes: list[str]
    category_ids: list[int] | None = None
    score_threshold: float | None = Field(None, description="the detector's own lowest score")
    class_thresholds: list[float] | None = Field(
        None, description='lowest score of each class that is answered without score_thr'
    )
    checkpoint_sha256: str | None = None
    max_bytes: int
    max_pixels: int
