"""The GPU kernels in Triton's interpreter against the equations in float64; their launches."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from selnext_mm.ops import channel_norm, triton_launch
from selnext_mm.ops.seln_block import dispatch, gpu_choice
from tests.ops.seln_block.test_block import weights
from tests.processors import rounds_as_recorded

ROOT = Path(__file__).resolve().parents[3]
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec('triton') is None,
    reason='needs triton, which comes with torch for CUDA; on a CPU: pip install triton',
)
# The interpreter multiplies with numpy: a processor without AVX512 gave an error of 2.4e-6.
FLOAT32 = 2e-6 if rounds_as_recorded() else 4e-6
BOUNDS = {'bfloat16': 4e-2, 'float16': 3e-3, 'training scaler': 1e-2, '': FLOAT32}


@pytest.mark.slow
@needs_triton
def test_kernels_equal_the_equations():
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-m', 'tests.ops.seln_block.triton_cases'],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    errors = json.loads(done.stdout)
    assert len(errors) == 157
    wrong = {
        name: value
        for name, value in errors.items()
        if not value < next(b for start, b in BOUNDS.items() if name.startswith(start))
    }
    assert wrong == {}


class Compiled:
    """What Triton returns of a launch, and what it gets when that is repeated."""

    function, packed_metadata = 7, (4, 1, 0)

    def __init__(self) -> None:
        self.calls = []

    def run(self, *args) -> None:
        self.calls.append(args)


class Kernel:
    def __init__(self) -> None:
        self.compiled, self.calls = Compiled(), []

    def __getitem__(self, grid):
        def launch(*args, **options):
            self.calls.append((grid, args, options))
            return self.compiled

        return launch


@pytest.fixture
def direct(monkeypatch):
    monkeypatch.setattr(triton_launch, 'can_relaunch', lambda: True)
    monkeypatch.setattr(triton_launch.Launcher, 'direct', True)


def test_a_repeated_launch_hands_over_addresses(direct):
    kernel = Kernel()
    launch = triton_launch.Launcher(kernel, num_warps=2)
    x, weight = torch.zeros(4), torch.nn.Parameter(torch.zeros(2))
    for size in (3, 5):
        launch('family', 11, (size, 1, 1), (64, True), x, weight, None, size, 1e-5)
    assert kernel.calls == [((3, 1, 1), (x, weight, None, 3, 1e-5, 64, True), dict(num_warps=2))]
    (call,) = kernel.compiled.calls
    assert call[:9] == (5, 1, 1, 11, 7, (4, 1, 0), None, None, None)
    assert call[9:] == (x.data_ptr(), weight.data_ptr(), None, 5, 1e-5, 64, True)


def test_other_families_and_constants_are_compiled_anew(direct):
    kernel = Kernel()
    launch = triton_launch.Launcher(kernel)
    for family, constants in (('a', (1,)), ('b', (1,)), ('a', (2,)), ('a', (1,))):
        launch(family, 0, (1, 1, 1), constants, torch.zeros(1))
    assert len(kernel.calls) == 3
    assert len(kernel.compiled.calls) == 1


def test_without_direct_launches_triton_makes_each(monkeypatch, direct):
    monkeypatch.setattr(triton_launch.Launcher, 'direct', False)
    kernel = Kernel()
    launch = triton_launch.Launcher(kernel)
    for _ in range(3):
        launch('family', 0, (1, 1, 1), (), torch.zeros(1))
    assert len(kernel.calls) == 3


def test_addresses_count_only_if_all_are_aligned():
    x = torch.zeros(64)
    assert triton_launch.are_aligned(x, None, x[4:])
    assert not triton_launch.are_aligned(x, x[1:])


def works(dtype=torch.float32):
    gpu_choice._try_block.cache_clear()
    return gpu_choice.gpu_block_works('cpu', dtype, 8, False)


def test_a_trial_that_fails_is_said_once_and_falls_back(monkeypatch, direct):
    monkeypatch.setattr(gpu_choice, 'can_relaunch', lambda: True)
    tried, said = [], []
    monkeypatch.setattr(gpu_choice, 'print_log', lambda text, *_: said.append(text))

    def wrong(*args):
        tried.append(triton_launch.Launcher.direct)
        return 0.5

    monkeypatch.setattr(gpu_choice, '_trial_error', wrong)
    assert not works()
    assert tried == [True, False]  # once more, with launches made by Triton
    assert triton_launch.Launcher.direct  # other kernels go on without it
    (line,) = said
    assert 'relative error 5.0e-01, more than 1e-04' in line
    assert 'layer by layer' in line


def test_a_version_of_triton_that_launches_otherwise_still_works(monkeypatch, direct):
    monkeypatch.setattr(gpu_choice, 'can_relaunch', lambda: True)

    def error(*args):
        if triton_launch.Launcher.direct:
            raise TypeError('function takes exactly 12 arguments')
        return 1e-6

    monkeypatch.setattr(gpu_choice, '_trial_error', error)
    assert works()
    assert not triton_launch.Launcher.direct


@pytest.mark.parametrize(('works', 'fused'), [(True, 'gpu'), (False, 'recompute')])
def test_without_a_reason_the_kernels_are_used_on_request(monkeypatch, works, fused):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda index: (7, 5))
    monkeypatch.setattr(dispatch, 'gpu_block_works', lambda *args: works)
    gpu_choice._look_up_reason.cache_clear()

    def chosen(allow_untimed, training):
        request = dispatch.Request(
            *(torch.device('cuda', 0), torch.float32, torch.float16, training),
            *(False, allow_untimed, 96),
        )
        return next((n for n, k in dispatch.KERNELS.items() if k.supports(request)), None)

    assert chosen(False, True) is chosen(False, False) is None
    assert chosen(True, True) == fused
    assert chosen(True, False) == ('gpu' if works else None)
    gpu_choice._look_up_reason.cache_clear()


def test_weights_with_gaps_are_left_to_the_layers(monkeypatch):
    asked = []

    def supports(request):
        asked.append(request.dense)
        return False

    kernel = dispatch.KERNELS['gpu']._replace(supports=supports)
    monkeypatch.setattr(dispatch, 'KERNELS', dict(gpu=kernel))
    w, x = weights(8), torch.randn(1, 8, 4, 4)
    dispatch.plan_block(x, w)
    turned = w.fc1_weight.t().contiguous().t()
    dispatch.plan_block(x, w._replace(fc1_weight=turned))
    assert asked == [True, False]
    monkeypatch.setattr(dispatch, 'gpu_block_works', lambda *args: True)
    request = dispatch.Request(
        *(torch.device('cuda', 0), torch.float32, torch.float32, False, False, True, 8)
    )
    assert dispatch._gpu_supports(request)
    assert not dispatch._gpu_supports(request._replace(dense=False))


@needs_triton
def test_compiled_kernels_are_told_apart_by_all_dtypes_and_addresses():
    from selnext_mm.ops.seln_block.gpu_forward import site_of

    w, x = weights(8), torch.randn(1, 8, 4, 4)
    scales = (None, torch.ones(1), torch.ones(1).bfloat16(), torch.ones(2)[1:])
    families = {site_of(x, w, torch.float32, scale).family for scale in scales}
    assert len(families) == len(scales)
    whole, part = torch.ones(8), torch.ones(9)[1:]
    pairs = ((whole, whole), (part, whole), (whole, part))
    assert [channel_norm._family(x, torch.float32, x, *p)[-1] for p in pairs] == [
        True,
        False,
        False,
    ]


def test_every_reason_is_measured_or_predicted(monkeypatch):
    page = (Path(__file__).parents[3] / 'docs' / 'performance.md').read_text()
    for reason in gpu_choice.REASONS:
        how, ratio = reason.evidence.split(': ')
        assert how in ('measured', 'predicted')
        precision = {torch.float32: 'TF32' if reason.tf32 else 'fp32'}.get(reason.dtype, 'bf16')
        (row,) = re.findall(rf'^\| {precision}, eager, deployed \| [\d.]+ \| (.+) \|$', page, re.M)
        assert row == ratio
    known = {(r.dtype, r.tf32) for r in gpu_choice.REASONS}
    assert known == {(d, t) for d in gpu_choice.TRIAL_ERROR for t in (False, True)}
    gpu_choice._look_up_reason.cache_clear()
    for capability, used in (((7, 5), False), ((8, 0), True), ((9, 0), True), ((12, 0), True)):
        monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda index, c=capability: c)
        gpu_choice._look_up_reason.cache_clear()
        for dtype, tf32 in known:
            found = gpu_choice.gpu_reason(torch.device('cuda', 0), dtype, tf32)
            assert (found is not None) == used
    gpu_choice._look_up_reason.cache_clear()
    assert gpu_choice.gpu_reason(torch.device('cpu'), torch.float32, False) is None
