"""Frames of a clip, a camera or a stream, one by one; only one or two are in memory."""

import glob
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from selnext_mm.errors import UserError

os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')  # quiet; read when a clip is first opened
SUFFIXES = ('.mp4', '.avi', '.mkv', '.mov', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv')
USUAL_RATE = 25.0  # frames/s if a source does not report its rate
STORED = ('http://', 'https://', 'file://')  # addresses that may hold a whole clip
MOST_FRAMES = 10**9  # of a clip; some live streams report more
PATIENCE = 10_000  # ms to open an address, and for its next frame; OpenCV would wait for 30 s
BACKLOG = 2.0  # seconds after opening in which OpenCV hands over what it has buffered


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
    level = cv2.getLogLevel()
    cv2.setLogLevel(0)  # its lines would stand before our one message, as FFmpeg's
    try:
        if '://' in source:
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC]
            waits = [value for limit in limits for value in (limit, PATIENCE)]
            capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG, waits)
        else:
            capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    finally:
        cv2.setLogLevel(level)
    return capture if capture.isOpened() else None


def open_address(source: str) -> Any:
    """:func:`open_capture`, which Ctrl-C can interrupt."""
    opened: list = []
    thread = threading.Thread(target=lambda: opened.append(open_capture(source)), daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
    return opened[0] if opened else None


def open_file(path: str | Path) -> Any:
    """OpenCV's reader of a file.

    Raises:
        UserError: if there is no such file, or OpenCV cannot read it.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        hint = '; name one clip, a pattern is for images' if glob.has_magic(str(path)) else ''
        raise UserError(f'{path}: no such file{hint}')
    capture = open_capture(str(path))
    if capture is None:
        raise UserError(f'{path}: OpenCV cannot read this clip; is it complete?')
    return capture


class Clip:
    """All frames of a file, in order; ``capture`` if it is open already.

    Raises:
        UserError: if there is no such file, or OpenCV cannot read it.
    """

    dropped = lost = 0
    gave_up = False

    def __init__(self, path: str | Path, capture: Any = None) -> None:
        self._capture = capture or open_file(path)
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
    connection is reopened, with up to ``retries`` attempts that bring no frame, ``pause`` seconds
    apart; then the stream ends, and ``gave_up`` is true. ``on_lost`` is called when it is lost.
    Frames that OpenCV has buffered while it opened the stream are not counted as dropped.

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
        capture: Any = None,
    ) -> None:
        self.source, self.retries, self.pause = source, retries, pause
        self._open, self._fruitless = opened_by, 0
        capture = capture or opened_by(source)
        if capture is None and source.isdecimal():
            raise UserError(f'camera {source} cannot be opened; is it there, and not in use?')
        if capture is None:
            raise UserError(f'{source} gives no video; is the address right, and does it answer?')
        rate = capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate < 1000 else USUAL_RATE
        self.dropped = self.lost = 0
        self.gave_up = False
        self.on_lost: Callable[[], object] = lambda: None
        self._newest: Frame | None = None
        self._ended, self._stop = False, threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(capture,), daemon=True)
        self._thread.start()

    def _read(self, capture: Any) -> None:
        start, index = time.monotonic(), 0
        opened = before = start
        while capture is not None and not self._stop.is_set():
            there, pixels = capture.read()
            if not there:
                capture.release()
                capture = self._again()
                opened = time.monotonic()
                continue
            self._fruitless = 0
            now = time.monotonic()
            buffered = now - before < 0.25 / self.rate and now - opened < BACKLOG
            before = now
            with self._changed:
                self.dropped += self._newest is not None and not buffered
                self._newest = Frame(index, now - start, pixels)
                self._changed.notify()
            index += 1
        if capture is not None:
            capture.release()
        with self._changed:
            self._ended = True
            self._changed.notify()

    def _again(self) -> Any:
        if not self._fruitless:
            self.lost += 1
            self.on_lost()
        while self._fruitless < self.retries:
            self._fruitless += 1
            if self._stop.wait(self.pause):
                return None
            capture = self._open(self.source)
            if capture is not None:
                return capture
        self.gave_up = True
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
        self._thread.join(1)  # it may wait for a frame; it ends with the process


def open_video(entry: str | Path) -> Clip | Stream:
    """The :class:`Clip` of a file, also one at an address, or the :class:`Stream` of a camera."""
    text = str(entry)
    if text.isdecimal():
        return Stream(text)
    if '://' not in text:
        return Clip(entry)
    capture = open_address(text)
    # A live stream has no number of frames, and rtsp:// sends at its own pace.
    stored = capture is not None and text.lower().startswith(STORED)
    if stored and 0 < capture.get(cv2.CAP_PROP_FRAME_COUNT) < MOST_FRAMES:
        return Clip(text, capture)
    return Stream(text, capture=capture)


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
