"""A moving ball as H.264 at rtsp://127.0.0.1:PORT/live, by Debian's GStreamer: ``PORT`` is argv[1].

Run by the system's Python, for which gir1.2-gst-rtsp-server-1.0, python3-gi and GStreamer's good
and ugly plugins are installed. Prints a line when it listens, and one for each client.
"""

import sys

import gi

gi.require_version('Gst', '1.0')
gi.require_version('GstRtspServer', '1.0')
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

BALL = (
    '( videotestsrc is-live=true pattern=ball ! video/x-raw,width=160,height=128,framerate=10/1 '
    '! x264enc tune=zerolatency key-int-max=10 ! rtph264pay name=pay0 pt=96 )'
)


def main() -> None:
    Gst.init(None)
    if '--check' in sys.argv:
        assert Gst.ElementFactory.find('x264enc')
        assert Gst.ElementFactory.find('rtph264pay')
        return
    server = GstRtspServer.RTSPServer(address='127.0.0.1', service=sys.argv[1])
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(BALL)
    factory.set_shared(True)
    server.get_mount_points().add_factory('/live', factory)
    server.connect('client-connected', lambda *_: print('client', flush=True))
    server.attach(None)
    print('listens', flush=True)
    GLib.MainLoop().run()


if __name__ == '__main__':
    main()
