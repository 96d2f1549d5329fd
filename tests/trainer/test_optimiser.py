import pytest
import torch
from torch import nn

from trainer import pretrain
from trainer.config.settings import Optim
from trainer.optimiser import make_optimiser


@pytest.mark.parametrize("name", ["sgd", "lars", "adamw"])
def test_no_decay_on_norms_and_biases(tiny, name):
    model = pretrain.make_model(tiny)
    decayed, free = make_optimiser(model, Optim(optimiser=name)).param_groups
    assert decayed["weight_decay"] > 0 and free["weight_decay"] == 0
    assert decayed.get("scaled", True) and not free.get("scaled", False)
    assert {p.ndim for p in free["params"]} == {1}
    count = len(decayed["params"]) + len(free["params"])
    assert count == sum(p.requires_grad for p in model.parameters())


def two_steps(name: str, scale: float = 1.0, gradient: float = 3.0, **changes: float) -> nn.Linear:
    """Two steps at lr 0.5, from weights `scale` * (3, 4), on a loss whose gradient is the same for
    every weight and bias."""
    layer = nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.copy_(scale * torch.tensor([[3.0, 4.0]]))
        layer.bias.zero_()
    optimiser = make_optimiser(layer, Optim(optimiser=name, **changes))
    for group in optimiser.param_groups:
        group["lr"] = 0.5
    for _ in range(2):
        optimiser.zero_grad()
        (gradient * (layer.weight.sum() + layer.bias.sum())).backward()
        optimiser.step()
    return layer


@pytest.mark.parametrize("scale", [1.0, 0.01])
@pytest.mark.parametrize("gradient", [3.0, 0.03])
def test_lars_by_hand(scale, gradient):
    """|w| = 5, g = (3, 3) + 0.1 w = (3.3, 3.4): a step of 0.01 * 5 / |g| in the direction g."""
    layer = two_steps("lars", scale, gradient, weight_decay=0.1, trust=0.01, momentum=0.0)
    w = scale * torch.tensor([3.0, 4.0])
    for _ in range(2):
        g = gradient + 0.1 * w
        w = w - 0.5 * (0.01 * w.norm() / g.norm()) * g
    assert torch.allclose(layer.weight[0], w, rtol=1e-5, atol=0)
    assert layer.bias.item() == pytest.approx(-0.5 * gradient * 2)  # plain SGD, no decay


def test_lars_has_momentum_and_starts_from_zero_weights():
    layer = two_steps("lars", weight_decay=0.0, momentum=0.9)
    assert layer.bias.item() == pytest.approx(-0.5 * (3 + (0.9 * 3 + 3)))
    zero = nn.Linear(2, 1)
    nn.init.zeros_(zero.weight)
    optimiser = make_optimiser(zero, Optim(optimiser="lars"))
    for group in optimiser.param_groups:
        group["lr"] = 1.0
    zero(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    assert bool((zero.weight != 0).all())


def test_a_lars_state_goes_on_where_it_was():
    layer = two_steps("lars")
    first = make_optimiser(layer, Optim(optimiser="lars"))
    layer(torch.ones(1, 2)).sum().backward()
    first.step()
    again = make_optimiser(layer, Optim(optimiser="lars"))
    again.load_state_dict(first.state_dict())
    for p in layer.parameters():
        assert torch.equal(first.state[p]["momentum_buffer"], again.state[p]["momentum_buffer"])
