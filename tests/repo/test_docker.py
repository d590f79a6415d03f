"""The Dockerfile and the compose file name what is there; neither is built by a test."""

import re
import shlex
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_the_image_starts_the_command_with_options_that_it_has():
    from selnext_mm.cli.serve import build_parser

    text = (ROOT / 'docker/Dockerfile').read_text()
    words = [re.search(rf'^{key} \[(.+)\]$', text, re.M)[1] for key in ('ENTRYPOINT', 'CMD')]
    line = [w for part in words for w in shlex.split(part.replace(',', ' '))]
    assert line[:2] == ['selnext-mm', 'serve']
    args = build_parser().parse_args(line[2:])
    assert (args.model, args.host, args.port) == ('/models/model.onnx', '0.0.0.0', 8000)
    (extra,) = re.findall(r'whl\)\[(\w+)\]', text)
    assert f"'{extra}': requirements(" in (ROOT / 'setup.py').read_text()


def test_the_service_is_reached_from_this_machine_alone_and_wants_a_token():
    service = yaml.safe_load((ROOT / 'docker/compose.yaml').read_text())['services']['serve']
    assert (
        ROOT / 'docker' / service['build']['context'] / service['build']['dockerfile']
    ).is_file()
    assert service['ports'] == ['127.0.0.1:8000:8000']
    assert ':?' in service['environment']['SELNEXT_MM_TOKEN']
