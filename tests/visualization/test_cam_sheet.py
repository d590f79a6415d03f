"""Heat maps over images."""

import numpy as np

from selnext_mm.visualization.cam_sheet import overlay


def test_the_overlay_is_warm_where_the_map_is_high():
    image = np.full((32, 32, 3), 128, np.uint8)
    heat = np.zeros((4, 4), np.float32)
    heat[:, 2:] = 1
    red, _, blue = overlay(image, heat, 64)[32, [2, 60]].astype(int).T
    assert red[1] > red[0]
    assert blue[1] < 100
