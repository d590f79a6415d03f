"""The registered models: their parameters as the papers and our other tests have them."""

import selnext_mm.timm  # noqa: F401 - registers them, and fixes torchvision before timm needs it

# name -> parameters with 1000 classes
PARAMETERS = {
    'selnext_yocto': 822_800,
    'selnext_atto': 4_463_180,
    'selnext_femto': 6_318_688,
    'selnext_pico': 10_992_776,
    'selnext_nano': 19_042_640,
    'selnext_tiny': 35_126_656,
    'selnext_small': 62_140_480,
    'selnext_base': 109_715_208,
    'selnext_large': 245_157_016,
    'patnet_t0': 4_292_072,
    'patnet_t1': 7_808_112,
    'patnet_t2': 12_651_072,
    'patnet_s': 28_976_352,
    'patnet_m': 61_367_424,
    'patnet_l': 104_465_984,
    'mobilenetv3_large_seln': 5_491_144,
    'na_resnet50': 25_557_064,
    'na_mobilenetv2': 3_504_906,
}
# One of each kind, run; the others are looked at on the meta device.
SMALL = ('selnext_atto', 'patnet_t0', 'mobilenetv3_large_seln', 'na_mobilenetv2', 'na_resnet50')
