"""ONNX files converted to OpenVINO's: an .xml with the graph, a .bin with the weights."""

from pathlib import Path

from selnext_mm.runtime.sessions import SECTION


def convert(onnx_file: Path, path: Path, metadata: dict[str, str]) -> None:
    """Write ``path`` (.xml) and the .bin beside it, weights in float32.

    ``metadata`` is stored in the model's ``rt_info`` under ``selnext_mm``.
    """
    import openvino

    model = openvino.convert_model(onnx_file)
    for key, value in metadata.items():
        model.set_rt_info(value, [SECTION, key])
    openvino.save_model(model, path, compress_to_fp16=False)
