"""Follow objects from frame to frame with ByteTrack, from the package ``trackers``."""

import cv2
import numpy as np

from selnext_mm.errors import UserError
from selnext_mm.inference.thresholds import Thresholds, shown

# Its dependency opencv-python would overwrite the installed headless edition.
INSTALL = (
    "pip install --no-deps trackers supervision 'pydeprecate<0.14' av && "
    "pip install 'scipy>=1.13.1' requests pyyaml defusedxml tqdm"
)


def require_trackers() -> None:
    """Raise :class:`UserError` if the package, or one that it imports, is missing."""
    try:
        import supervision  # noqa: F401
        import trackers  # noqa: F401
    except ImportError as error:
        missing = '' if error.name in ('supervision', 'trackers') else f' ({error})'
        raise UserError(f'--track needs trackers{missing}: {INSTALL}') from error


class Tracks:
    """Gives an object the same number in every frame.

    A track starts with an object whose score is ``start`` or more; it is numbered from its second
    frame on. Weaker objects can only continue a track (Zhang et al., ByteTrack, ECCV 2022).

    Args:
        rate: frames/s.
        start: lowest score that begins a track.

    Raises:
        UserError: if the package is missing.
    """

    def __init__(self, rate: float, start: float = 0.7) -> None:
        require_trackers()
        import trackers

        self._tracker = trackers.ByteTrackTracker(
            frame_rate=rate,
            track_activation_threshold=start,
            high_conf_det_threshold=min(0.6, start),
        )
        self.seen: set[int] = set()

    def add(self, instances: list[dict]) -> None:
        """Set ``track``, the track's number, in each tracked instance of the next frame."""
        import supervision

        if instances:
            x, y, w, h = np.array([i['bbox'] for i in instances], dtype=float).T
            found = supervision.Detections(
                xyxy=np.stack([x, y, x + w, y + h], 1),
                confidence=np.array([i['score'] for i in instances]),
                class_id=np.array([i['label'] for i in instances]),
                data={'place': np.arange(len(instances))},
            )
        else:
            found = supervision.Detections.empty()
        tracked = self._tracker.update(found)
        if not len(tracked):
            return
        for place, number in zip(tracked.data['place'], tracked.tracker_id, strict=True):
            if number >= 0:
                instances[int(place)]['track'] = int(number)
                self.seen.add(int(number))


def draw_tracks(
    image: np.ndarray, instances: list[dict], width: int, score_thr: Thresholds
) -> np.ndarray:
    """An annotated ``image`` with track numbers in the boxes; the original is ``width`` wide."""
    image, scale = image.copy(), image.shape[1] / width
    for item in shown(instances, score_thr):
        if 'track' not in item:
            continue
        x, y, w, h = item['bbox']
        place = round((x + w / 2) * scale) - 12, round((y + h / 2) * scale) + 6
        for colour, thick in (((0, 0, 0), 4), ((255, 255, 255), 2)):
            cv2.putText(
                image, f'#{item["track"]}', place, cv2.FONT_HERSHEY_SIMPLEX, 0.7, colour, thick
            )
    return image
