"""Frames of a clip, a camera or a stream, one by one; only one or two are in memory."""

import glob
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from selnext_mm.errors import UserError

SUFFIXES = ('.mp4', '.avi', '.mkv', '.mov', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv')
USUAL_RATE = 25.0  # frames/s if a source does not report its rate


@dataclass(frozen=True)
class Frame:
    """``pixels`` (BGR, (H, W, 3)), the frame's number ``index``, and its time in ``seconds``."""

    index: int
    seconds: float
    pixels: np.ndarray


def is_video(entry: str | Path) -> bool:
    """Whether ``entry`` names a clip, a URL (``rtsp://...``) or a camera (``0``)."""
    text = str(entry)
    if text.isdecimal():
        return not Path(text).exists()
    if '://' in text:
        return True
    return Path(text).suffix.lower() in SUFFIXES and not Path(text).expanduser().is_dir()


def open_capture(source: str) -> Any:
    """OpenCV's reader of ``source``; None if it cannot be opened."""
    capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    return capture if capture.isOpened() else None


class Clip:
    """All frames of a file, in order.

    Raises:
        UserError: if there is no such file, or OpenCV cannot read it.
    """

    dropped = lost = 0

    def __init__(self, path: str | Path) -> None:
        path = Path(path).expanduser()
        if not path.is_file():
            hint = '; name one clip, a pattern is for images' if glob.has_magic(str(path)) else ''
            raise UserError(f'{path}: no such file{hint}')
        self._capture = open_capture(str(path))
        if self._capture is None:
            raise UserError(f'{path}: OpenCV cannot read this clip; is it complete?')
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate < 1000 else USUAL_RATE
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.total = count if count > 0 else None

    def frames(self) -> Iterator[Frame]:
        index = 0
        while True:
            there, pixels = self._capture.read()
            if not there:
                return
            yield Frame(index, index / self.rate, pixels)
            index += 1

    def close(self) -> None:
        self._capture.release()


class Stream:
    """The newest frame of a camera or a URL, whenever one is requested.

    Frames that come while another one is being processed are dropped and counted. A lost
    connection is reopened, with up to ``retries`` attempts, ``pause`` seconds apart; then the
    stream ends.

    Raises:
        UserError: if it cannot be opened at first.
    """

    total = None

    def __init__(
        self,
        source: str,
        retries: int = 5,
        pause: float = 2.0,
        opened_by: Callable[[str], Any] = open_capture,
    ) -> None:
        self.source, self.retries, self.pause = source, retries, pause
        self._open = opened_by
        capture = opened_by(source)
        if capture is None:
            what = f'camera {source}' if source.isdecimal() else source
            raise UserError(f'{what} cannot be opened; is it connected, and not in use?')
        rate = capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate < 1000 else USUAL_RATE
        self.dropped = self.lost = 0
        self._newest: Frame | None = None
        self._ended, self._stop = False, threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(capture,), daemon=True)
        self._thread.start()

    def _read(self, capture: Any) -> None:
        start, index = time.monotonic(), 0
        while capture is not None and not self._stop.is_set():
            there, pixels = capture.read()
            if not there:
                capture.release()
                capture = self._again()
                continue
            with self._changed:
                self.dropped += self._newest is not None
                self._newest = Frame(index, time.monotonic() - start, pixels)
                self._changed.notify()
            index += 1
        if capture is not None:
            capture.release()
        with self._changed:
            self._ended = True
            self._changed.notify()

    def _again(self) -> Any:
        self.lost += 1
        for _ in range(self.retries):
            if self._stop.wait(self.pause):
                return None
            capture = self._open(self.source)
            if capture is not None:
                return capture
        return None

    def frames(self) -> Iterator[Frame]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._newest is not None or self._ended)
                frame, self._newest = self._newest, None
            if frame is None:
                return
            yield frame

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)


def open_video(entry: str | Path) -> Clip | Stream:
    """The :class:`Clip` of a file, or the :class:`Stream` of a URL or a camera."""
    text = str(entry)
    return Stream(text) if text.isdecimal() or '://' in text else Clip(entry)


class Recorder:
    """An mp4 file of RGB frames, all of the size of the first; :meth:`close` makes it playable."""

    def __init__(self, path: Path, rate: float) -> None:
        self.path, self.rate = path, rate
        self._writer: Any = None
        self._size: tuple[int, int] = (0, 0)

    def add(self, image: np.ndarray, times: int = 1) -> None:
        """Add ``image`` for ``times`` frames.

        Raises:
            UserError: if OpenCV cannot write mp4 files.
        """
        if self._writer is None:
            height, width = image.shape[:2]
            self._size = width - width % 2, height - height % 2  # the codec needs even sides
            fourcc = cv2.VideoWriter.fourcc(*'mp4v')
            self._writer = cv2.VideoWriter(str(self.path), fourcc, self.rate, self._size)
            if not self._writer.isOpened():
                raise UserError(f'{self.path}: this OpenCV cannot write mp4 files')
        if image.shape[1::-1] != self._size:
            image = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA)
        image = np.ascontiguousarray(image[..., ::-1])
        for _ in range(times):
            self._writer.write(image)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()
