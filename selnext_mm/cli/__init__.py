"""Command line of the package: one module per command, each with ``main(argv) -> int``.

Not here: the work itself, which is done in other rooms: a command parses, calls and prints.
"""

# name -> (module, one line of help); modules are imported only when their command runs,
# so that ``doctor`` starts in an environment where the others cannot be imported.
# These run without torch and mmengine, and register what they need themselves.
WITHOUT_TORCH = ('doctor', 'predict', 'serve')
COMMANDS = {
    'demo': ('selnext_mm.cli.demo', 'data, training, evaluation and images in one go'),
    'doctor': ('selnext_mm.cli.doctor', 'check the environment and say how to fix it'),
    'ops': ('selnext_mm.cli.ops', 'where the operators of mmcv come from; install ours'),
    'mim': ('selnext_mm.cli.mim', 'our configs in mmdet, for "mim train mmdet NAME"'),
    'check-data': ('selnext_mm.cli.check_data', 'is the data of a config fit to train on?'),
    'browse': ('selnext_mm.cli.browse', 'images with labels, before and after augmentation'),
    'make-shapes': ('selnext_mm.cli.make_shapes', 'write the synthetic COCO data set of the demo'),
    'semantic-maps': (
        'selnext_mm.cli.semantic_maps',
        'label maps for semantic segmentation from COCO masks',
    ),
    'compare': ('selnext_mm.cli.compare', 'train configs x seeds by one recipe, one table'),
    'complexity': ('selnext_mm.cli.complexity', 'parameters and MACs beside the printed figures'),
    'convert': ('selnext_mm.cli.convert', "turn another project's weights into ours"),
    'export': ('selnext_mm.cli.export', 'a model as ONNX, OpenVINO, torch.export or safetensors'),
    'feature-distance': (
        'selnext_mm.cli.feature_distance',
        'how different the channels of each block are (Fig. 2)',
    ),
    'gate-scales': ('selnext_mm.cli.gate_scales', 'channel scales around the gate (Fig. 3)'),
    'cam': ('selnext_mm.cli.cam', 'heat maps of what classifiers look at (Fig. 6)'),
    'trade-off': ('selnext_mm.cli.trade_off', 'accuracy against its costs (Fig. 5)'),
    'panel': ('selnext_mm.cli.panel', 'draw predictions beside the ground truth'),
    'predict': ('selnext_mm.cli.predict', 'run a detector or classifier over images'),
    'serve': ('selnext_mm.cli.serve', 'a model over HTTP, with a page to try it'),
    'publish': ('selnext_mm.cli.publish', 'a run as a folder fit for the Hugging Face Hub'),
    'report': ('selnext_mm.cli.report', 'one HTML page of one or several runs'),
    'train': ('selnext_mm.cli.train', 'train a config (the same as tools/train.py)'),
    'tune': ('selnext_mm.cli.tune', 'search for settings on labels of your own'),
    'test': ('selnext_mm.cli.test', 'evaluate a checkpoint (the same as tools/test.py)'),
}
