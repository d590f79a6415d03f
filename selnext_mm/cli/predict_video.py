"""``selnext-mm predict`` on a clip, a camera or a stream: an mp4 file and a JSON line per frame."""

import argparse
import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from selnext_mm.errors import UserError
from selnext_mm.text import counted, per_second


def is_meant(args: argparse.Namespace) -> bool:
    """Whether the input is a video.

    Raises:
        UserError: for more than one input, or for options that need images.
    """
    from selnext_mm.inference.video import is_video

    if not any(map(is_video, args.images)):
        for option in ('max_frames', 'track'):
            if (value := getattr(args, option)) is not None and value is not False:
                name = option.replace('_', '-')
                raise UserError(f'--{name} needs a clip, a camera or a stream')
        return False
    if len(args.images) > 1:
        raise UserError(f'{", ".join(args.images)}: name one clip, camera or stream, and no more')
    if args.max_frames is not None and args.max_frames < 1:
        raise UserError(f'--max-frames {args.max_frames}; expected 1 or more')
    return True


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into a KeyboardInterrupt, which keeps what is done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number, frame):
        raise KeyboardInterrupt

    known = [getattr(signal, name) for name in ('SIGTERM', 'SIGHUP') if hasattr(signal, name)]
    # Under nohup SIGHUP is ignored.
    before = {s: h for s in known if (h := signal.getsignal(s)) is not signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(args: argparse.Namespace, opened_by: Callable) -> int:
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn

    from selnext_mm.cli.predict import thresholds_of
    from selnext_mm.inference.clips import predict_video
    from selnext_mm.inference.output import complete_folder
    from selnext_mm.inference.thresholds import in_words
    from selnext_mm.inference.tracks import require_trackers
    from selnext_mm.inference.video import Stream, open_video

    if args.track:
        require_trackers()
    (entry,), out = args.images, Path(args.out).expanduser()
    columns = (
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        TextColumn('{task.fields[rate]}'),
    )
    with complete_folder(out, args.force) as folder:
        predictor, ids = opened_by(args)
        if '://' in entry:
            print(f'opening {entry}', file=sys.stderr)  # one that does not answer takes a while
        video, lowest = open_video(entry), thresholds_of(args, predictor)
        with stopped_by_signals(), Progress(*columns, console=Console(stderr=True)) as progress:
            if isinstance(video, Stream):
                again = f'{entry}: connection lost; opening it again'
                video.on_lost = lambda: progress.console.print(again, markup=False)
            task = progress.add_task(str(entry), total=args.max_frames or video.total, rate='')

            def on_frame(found) -> None:
                rate = per_second(found.frames, found.seconds, 'frame')
                progress.update(task, advance=1, rate=f'{rate}, {video.dropped} dropped')

            found = predict_video(
                *(predictor, video, folder, ids, lowest),
                track=args.track,
                pictures=not args.no_pictures,
                most=args.max_frames,
                on_frame=on_frame,
            )
        if not found.frames:
            raise UserError(f'{entry}: there is no frame to read; nothing was written')
    lost = f', connection lost {counted(video.lost, "time")}' if video.lost else ''
    print(
        f'{counted(found.frames, "frame")}, {per_second(found.frames, found.seconds, "frame")} on '
        f'{predictor.device}, {video.dropped} dropped{lost}'
        + (', stopped' if found.stopped else '')
    )
    told = min(video.total or 0, args.max_frames or video.total or 0)
    if cut_off := found.frames < told and not found.stopped:
        print(f'{entry} says that it has {video.total} frames; it may be cut off', file=sys.stderr)
    if isinstance(video, Stream) and video.gave_up:
        print(
            f'{entry} ended, or cannot be opened again after {video.retries} tries', file=sys.stderr
        )
    if not predictor.loaded.is_classifier:
        followed = f', {counted(found.tracks, "track")}' if found.tracks is not None else ''
        print(f'{counted(found.results, "object")}{followed}; category ids from {ids.source}')
        if not args.no_pictures:
            print(f'drawn: those with score >= {in_words(lowest, predictor.loaded.source)}')
    print(f'wrote {", ".join(str(out / name) for name in found.files)}')
    return int(cut_off or video.gave_up)
