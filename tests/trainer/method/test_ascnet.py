from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from trainer.config.settings import Model, Objective
from trainer.method import ascnet
from trainer.method.ascnet import ASCNet, Losses, distance
from trainer.method.decorrelation import correlation
from trainer.method.memory_bank import ClipLabels
from trainer.method.monitor import with_correlation

MODEL = Model(backbone="r3d-tiny", hidden=32, dim=16)


def batch(videos: int = 4) -> tuple[torch.Tensor, ClipLabels]:
    ids = torch.arange(videos).repeat(2)
    stride = torch.tensor([1, 2]).repeat_interleave(videos)
    clips = torch.randn(2 * videos, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    return clips, ClipLabels(stride, ids, ids)


def step(net: ASCNet, clips: torch.Tensor, labels: ClipLabels, with_speed: bool = True) -> Losses:
    """The losses, and the clips in the bank."""
    losses = net(clips, labels, with_speed)
    net.remember(losses.seen.target, labels)
    return losses


def model(**changes) -> ASCNet:
    torch.manual_seed(0)
    return ASCNet(MODEL, Objective(**{"bank": 64, **changes})).train()


def test_distance_is_two_minus_two_cosines():
    p, z = torch.randn(5, 8), torch.randn(5, 8)
    expected = (normalize(p, dim=1) - normalize(z, dim=1)).square().sum(1)
    assert torch.allclose(distance(p, z), expected, atol=1e-5)
    assert torch.allclose(distance(p, 3 * p), torch.zeros(5), atol=1e-5)
    assert torch.allclose(distance(p, -p), torch.full((5,), 4.0), atol=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.99])
def test_losses_against_the_definition(momentum):
    net = model(momentum=momentum)
    data = batch()
    step(net, *data)  # fills the bank
    bank = {name: value.clone() for name, value in net.bank.state_dict().items()}

    losses = step(net, *data)
    encoder = net.encoder if momentum == 0 else net.target
    with torch.no_grad():
        _, looks, speeds = encoder(data[0])
        z = normalize(looks, dim=1)
        _, appearance, speed = net.encoder(data[0])
        p, m = net.predict_appearance(appearance), net.predict_speed(speed)
    acp, scp = [], []
    for i in range(8):
        acp.append(float(distance(p[i], z[(i + 4) % 8])))
        fits = (bank["stride"] == data[1].stride[i]) & (bank["group"] != data[1].group[i])
        similar = torch.where(fits, bank["appearance"] @ z[i], torch.tensor(-9.0))
        scp.append(float(distance(m[i], bank["speed"][similar.argmax()])))
    assert torch.allclose(losses.seen.target.speed, normalize(speeds, dim=1), atol=1e-5)
    assert float(losses.appearance) == pytest.approx(sum(acp) / 8, abs=1e-4)
    assert float(losses.speed) == pytest.approx(sum(scp) / 8, abs=1e-4)
    assert float(losses.total.detach()) == pytest.approx(sum(acp + scp) / 8, abs=1e-4)


def test_weights_and_warm_up():
    data = batch()
    for changes, with_speed, expected in (
        ({"appearance_weight": 2.0, "speed_weight": 0.5}, True, (2.0, 0.5)),
        ({}, False, (1.0, 0.0)),
    ):
        net = model(**changes)
        step(net, *data)
        losses = step(net, *data, with_speed=with_speed)
        total = expected[0] * losses.appearance + expected[1] * losses.speed
        assert float(losses.total.detach()) == pytest.approx(float(total), abs=1e-5)


@pytest.mark.parametrize("siblings", [False, True])
@pytest.mark.parametrize("k", [3, 20])
def test_contrast_takes_the_mean_of_the_nearest_from_the_target(k, siblings):
    """20 are more than there are."""
    changes = {"neighbours": k, "exclude_siblings": not siblings}
    net, plain, data = model(appearance_contrast=0.7, **changes), model(**changes), batch()
    data = data[0], replace(data[1], group=data[1].group // 2)  # two videos of a recording
    first, unlike = step(net, *data), step(plain, *data)
    assert float(first.appearance) == float(unlike.appearance)  # the bank was empty
    bank = {name: value.clone() for name, value in net.bank.state_dict().items()}
    losses, plainly = step(net, *data), step(plain, *data)
    with torch.no_grad():
        z = normalize(net.target(data[0])[1], dim=1)
        p = net.predict_appearance(net.encoder(data[0])[1])
    apart = "video" if siblings else "group"
    expected = []
    for i in range(8):
        other = (i + 4) % 8
        fits = (bank["stride"] > 0) & (bank[apart] != getattr(data[1], apart)[i])
        similar = torch.where(fits, bank["appearance"] @ z[other], torch.tensor(-9.0))
        nearest = bank["appearance"][similar.topk(min(k, int(fits.sum()))).indices]
        expected.append(float(distance(p[i], z[other] - 0.7 * nearest.mean(0))))
    assert float(losses.appearance) == pytest.approx(sum(expected) / 8, abs=1e-4)
    assert abs(float(losses.appearance - plainly.appearance)) > 1e-3
    assert float(losses.speed) == pytest.approx(float(plainly.speed), abs=1e-5)  # as it was


def test_decorrelation_is_added_to_the_losses():
    data = batch()
    nets = [model(decorrelation=weight) for weight in (0.0, 3.0)]
    plain, penalised = (step(net, *data) for net in nets)
    expected = float(correlation(nets[0].encoder(data[0])[0].detach()))
    assert float(penalised.correlation) == pytest.approx(expected, abs=1e-5)
    assert float(with_correlation(plain).correlation) == pytest.approx(expected, abs=1e-5)
    more = 3 * expected
    assert (
        float((penalised.total - plain.total).detach()) == pytest.approx(more, abs=1e-4)
        and more > 0.1
    )
    assert float(penalised.loss - plain.loss) == pytest.approx(more, abs=1e-4)
    plain.total.backward()
    penalised.total.backward()
    without, with_it = (next(net.encoder.backbone.parameters()).grad for net in nets)
    assert not torch.allclose(without, with_it, rtol=0.01)


@pytest.mark.parametrize("changes", [{}, {"speed_target": "direction", "decorrelation": 1.0}])
def test_a_second_forward_changes_nothing(changes):
    """Only batch norm counts what it saw, which nothing in training is computed from."""
    net, data = model(**changes), batch()
    step(net, *data)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    first, second = net(*data), net(*data)
    assert all(torch.equal(getattr(first, n), getattr(second, n)) for n in ("total", "loss"))
    counted = ("running_mean", "running_var", "num_batches_tracked")
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]) or name.endswith(counted), name


def test_the_correlation_of_channels_is_computed_only_where_it_is_penalised(monkeypatch):
    calls = []
    monkeypatch.setattr(ascnet, "correlation", lambda rows: calls.append(1) or correlation(rows))
    assert step(model(), *batch()).correlation is None and not calls
    assert step(model(decorrelation=1.0), *batch()).correlation is not None and calls


def test_the_first_batch_finds_no_neighbour():
    losses = step(model(), *batch())
    assert float(losses.speed) == 0.0
    assert float(losses.with_neighbour) == 0.0
    assert torch.isfinite(losses.total)


@pytest.mark.parametrize("momentum", [0.0, 0.99])
def test_no_gradient_flows_through_the_target(momentum):
    net = model(momentum=momentum)
    step(net, *batch())
    step(net, *batch()).total.backward()
    assert all(p.grad is not None for p in net.encoder.parameters())
    if net.target is not None:
        assert all(p.grad is None for p in net.target.parameters())
    # With the predictor's weights at zero, only the target could pass a gradient on.
    net = model(momentum=momentum)
    for predictor in (net.predict_appearance, net.predict_speed):
        torch.nn.init.zeros_(predictor[0].weight)
    step(net, *batch()).total.backward()
    assert all(p.grad is None or not p.grad.any() for p in net.encoder.parameters())


def test_target_moves_slowly():
    net = model(momentum=0.9)
    before = {k: v.clone() for k, v in net.target.state_dict().items()}
    with torch.no_grad():
        for p in net.encoder.parameters():
            p.add_(1.0)
    net.update_target(0.9)
    for name, p in net.target.named_parameters():
        assert torch.allclose(p, before[name] + 0.1, atol=1e-5)


def test_top_k_neighbours_are_averaged():
    net = model(neighbours=3)
    data = batch()
    step(net, *data)
    with torch.no_grad():
        z = normalize(net.target(data[0])[1], dim=1)
        m = net.predict_speed(net.encoder(data[0])[2])
    places, found = net.bank.nearest(net.bank.similarity(z), data[1], 3, "same")
    assert found.all()
    expected = sum(float(distance(m[i], net.bank.speed[p])) for i in range(8) for p in places[i])
    assert float(step(net, *data).speed) == pytest.approx(expected / 24, abs=1e-4)


@pytest.mark.parametrize("off, own", [("appearance", "speed"), ("speed", "appearance")])
def test_one_of_the_two_is_enough(off, own):
    """The other's heads get no gradient but zeros, the backbone gets one."""
    net = model(**{f"{off}_weight": 0.0})
    step(net, *batch())
    losses = step(net, *batch())
    losses.total.backward()
    assert float(losses.total.detach()) == pytest.approx(float(getattr(losses, own)), abs=1e-5)
    idle = [*getattr(net, f"predict_{off}").parameters(), *getattr(net.encoder, off).parameters()]
    assert all(p.grad is None or not p.grad.any() for p in idle)
    assert all(p.grad is not None and p.grad.any() for p in net.encoder.backbone.parameters())


def test_it_learns_to_agree():
    net = model(momentum=0.0, speed_weight=0.5)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    history = []
    for _ in range(25):
        losses = step(net, *batch())
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        history.append(float(losses.appearance))
    assert history[-1] < history[0] - 0.3


@pytest.mark.parametrize("k", [2, 20])
def test_a_direction_is_from_the_nearest_at_other_speeds_to_those_at_the_own(k):
    """Three speeds; 20 are more than there are."""
    net = model(momentum=0.0, neighbours=k, speed_target="direction")
    data = batch(5)
    data[1].stride[-2:] = 4
    step(net, *data)
    bank = {name: value.clone() for name, value in net.bank.state_dict().items()}
    losses = step(net, *data)
    with torch.no_grad():
        _, appearance, speed = net.encoder(data[0])
        z, m = normalize(appearance, dim=1), net.predict_speed(speed)
    expected = []
    for i in range(10):
        means = []
        for same in (True, False):
            fits = ((bank["stride"] == data[1].stride[i]) == same) & (bank["stride"] > 0)
            fits &= bank["video"] != data[1].video[i]
            similar = torch.where(fits, bank["appearance"] @ z[i], torch.tensor(-9.0))
            nearest = similar.topk(min(k, int(fits.sum()))).indices
            means.append(bank["speed"][nearest].mean(0))
        expected.append(float(distance(m[i], means[0] - means[1])))
    assert float(losses.speed) == pytest.approx(sum(expected) / 10, abs=1e-4)
    assert losses.seen.neighbours.video.shape == (10, k)


def test_there_is_no_direction_without_another_speed():
    net = model(speed_target="direction")
    data = batch()
    data = data[0], replace(data[1], stride=torch.ones_like(data[1].stride))
    step(net, *data)
    losses = step(net, *data)
    assert float(losses.speed) == 0.0 and float(losses.with_neighbour) == 0.0
    assert losses.seen.neighbours.found.all()  # there would be a neighbour
    losses.total.backward()


def test_a_direction_is_learnt_where_the_neighbour_s_embedding_is_not():
    """Videos of many looks, darker or brighter with time: that tells their two speeds."""
    found = {}
    for target in ("neighbour", "direction"):
        net = model(momentum=0.0, appearance_weight=0.0, speed_target=target, neighbours=16)
        optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        generator = torch.Generator().manual_seed(1)
        stride = torch.tensor([1, 2]).repeat_interleave(8)
        change = torch.outer(2.0 * stride - 3, 0.3 * torch.linspace(-1, 1, 4))[
            :, None, :, None, None
        ]
        for number in range(30):
            looks = torch.randn(8, 3, 1, 1, 1, generator=generator).repeat(2, 1, 1, 1, 1)
            noise = torch.randn(16, 3, 4, 16, 16, generator=generator)
            clips = looks + noise + change
            video = torch.arange(8).repeat(2) + 8 * number
            losses = step(net, clips, ClipLabels(stride, video, video))
            optimiser.zero_grad()
            losses.total.backward()
            optimiser.step()
        speed, fast = net.bank.speed, net.bank.stride == 2
        apart = speed[fast].mean(0) - speed[~fast].mean(0)
        found[target] = float(apart.norm() / speed.std(0).norm())
    assert found["direction"] > 1.5 * found["neighbour"], found
