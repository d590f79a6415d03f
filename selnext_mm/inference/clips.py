"""Predictions on a clip, a camera or a stream: an mp4 file and a JSON line per frame."""

import contextlib
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from selnext_mm.errors import UserError
from selnext_mm.inference.categories import Ids
from selnext_mm.inference.output import annotate
from selnext_mm.inference.tracks import Tracks, draw_tracks
from selnext_mm.inference.video import Clip, Recorder, Stream

LONGEST_GAP = 250  # at most this many missing frames are filled up with one frame


@dataclass
class Found:
    """What was found in a clip so far.

    Attributes:
        frames: number of frames read.
        results: number of objects, or classes, in all of them.
        tracks: number of objects tracked; None without ``track``.
        stopped: whether Ctrl-C or SIGTERM ended it.
        seconds: from the request of the first frame to the end of the last one.
        files: names of what was written.
    """

    frames: int = 0
    results: int = 0
    tracks: int | None = None
    stopped: bool = False
    seconds: float = 0.0
    files: tuple[str, ...] = ('frames.jsonl',)


class _Frames:
    """The two files, frame by frame."""

    def __init__(
        self, predictor, ids: Ids, lowest, folder: Path, rate: float, track: bool, pictures: bool
    ) -> None:
        self.predictor, self.ids, self.lowest = predictor, ids, lowest
        self.key = 'classes' if predictor.loaded.is_classifier else 'instances'
        if track and predictor.loaded.is_classifier:
            raise UserError('--track: a classifier finds no objects')
        self.tracks = Tracks(rate) if track else None
        self.recorder = Recorder(folder / 'video.mp4', rate) if pictures else None
        self.lines = open(folder / 'frames.jsonl', 'w', encoding='utf-8')  # noqa: SIM115 - close()
        self.rate, self.written = rate, 0

    def add(self, frame) -> int:
        """Find, draw and write; return the number of results in this frame."""
        results = self.predictor.find(frame.pixels)
        height, width = frame.pixels.shape[:2]
        if self.tracks:
            self.tracks.add(results)
        if self.recorder:
            record = {self.key: results}
            image = annotate(frame.pixels, record, self.predictor.classes, self.lowest)
            if self.tracks:
                image = draw_tracks(image, results, width, self.lowest)
            # Dropped frames and lost time are filled up, so that the clip keeps its timing.
            missing = round(frame.seconds * self.rate) + 1 - self.written
            # Frames that come in a burst may be one ahead of their time, no more.
            times = min(max(missing, int(missing == 0)), LONGEST_GAP)
            self.recorder.add(image, times)
            self.written += times
        if self.key == 'instances':
            ids = self.ids.categories
            results = [dict(category_id=ids[item['category']], **item) for item in results]
        content = dict(frame=frame.index, seconds=round(frame.seconds, 3))
        content |= dict(width=width, height=height) | {self.key: results}
        self.lines.write(json.dumps(content) + '\n')
        return len(results)

    def close(self) -> None:
        self.lines.close()
        if self.recorder:
            self.recorder.close()


def predict_video(
    predictor,
    video: Clip | Stream,
    folder: Path,
    ids: Ids,
    lowest,
    *,
    track: bool = False,
    pictures: bool = True,
    most: int | None = None,
    on_frame: Callable[[Found], None] = lambda found: None,
) -> Found:
    """Write ``frames.jsonl`` and ``video.mp4`` into ``folder``.

    A KeyboardInterrupt acts like the end of the clip: what is done is kept.

    Args:
        predictor: runs on a frame: a ``Predictor``, or the model of an exported file.
        video: from ``open_video``; it is closed.
        ids: ids of the categories.
        lowest: score, or a score per class, from which an object is drawn.
        track: give objects ids that stay from frame to frame.
        pictures: write the mp4 file.
        most: frames to read.
        on_frame: called after each frame.

    Raises:
        UserError: if a classifier has to track.
    """
    found = Found()
    with contextlib.closing(video):
        frames = _Frames(predictor, ids, lowest, folder, video.rate, track, pictures)
        start = time.perf_counter()
        try:
            for frame in itertools.islice(video.frames(), most):
                count = frames.add(frame)
                found.frames, found.results = found.frames + 1, found.results + count
                found.seconds = time.perf_counter() - start
                on_frame(found)
        except KeyboardInterrupt:
            found.stopped = True
        finally:
            frames.close()
    if frames.tracks:
        found.tracks = len(frames.tracks.seen)
    if pictures:
        found.files += ('video.mp4',)
    return found
