"""Feature extraction by torch.fx, as timm does it: the values of the model itself."""

import pytest
import timm
import torch
from timm.models import create_feature_extractor, get_graph_node_names
from torch.testing import assert_close

from tests.timm.models import SMALL

each_small = pytest.mark.parametrize('name', SMALL)


def build(name, **kwargs):
    return timm.create_model(name, num_classes=5, **kwargs).eval()


@each_small
def test_the_traced_graph_computes_the_model_for_other_images_too(name):
    model = build(name)
    _, nodes = get_graph_node_names(model)
    graph = create_feature_extractor(model, [nodes[-1]])
    for size, batch in ((64, 1), (96, 2)):
        x = torch.rand(batch, 3, size, size)
        with torch.no_grad():
            (y,) = graph(x).values()
            assert_close(y, model(x), rtol=1e-4, atol=1e-5)


@each_small
def test_stages_by_their_names_are_the_maps_of_the_model(name):
    model = build(name)
    modules = [info['module'] for info in model.feature_info]
    if name == 'na_mobilenetv2':
        modules = [f'blocks.{i}' for i in (1, 2, 4, 6)]
    graph = create_feature_extractor(model, {module: module for module in modules})
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = model.forward_intermediates(x, intermediates_only=True)
        for got, wanted in zip(graph(x).values(), expected[-len(modules) :], strict=True):
            assert_close(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', [n for n in SMALL if n != 'na_mobilenetv2'])
def test_timms_class_of_features_by_fx(name):
    x = torch.rand(1, 3, 64, 64)
    plain, graph = (build(name, features_only=True, feature_cls=cls) for cls in ('getter', 'fx'))
    state = graph.state_dict()
    names = {key.removeprefix('graph_module.'): key for key in state}
    own = {key.removeprefix('model.'): value for key, value in plain.state_dict().items()}
    graph.load_state_dict({names[key]: own[key] for key in names})
    with torch.no_grad():
        for a, b in zip(graph.eval()(x), plain(x), strict=True):
            assert_close(a, b, rtol=1e-4, atol=1e-5)


@each_small
def test_every_parameter_of_a_graph_gets_the_gradient_of_the_model(name):
    model = build(name, dtype=torch.float64).train()
    train, _ = get_graph_node_names(model)
    graph = create_feature_extractor(model, {train[-1]: 'y'}).train()
    x = torch.rand(4, 3, 64, 64, dtype=torch.float64)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    gradients = []
    for run in (lambda: graph(x)['y'], lambda: model(x)):
        model.load_state_dict(state)
        model.zero_grad()
        torch.manual_seed(0)  # PATNet has dropout
        run().square().sum().backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters()})
    for key, gradient in gradients[1].items():
        assert_close(gradients[0][key], gradient, msg=key)
