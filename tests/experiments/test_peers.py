import copy
import math
from contextlib import nullcontext

import pytest
import torch
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from experiments.distribution_peers import epps_pulley, sigreg, vicreg
from experiments.hand_crafted import HAND_CRAFTED
from experiments.peer_parts import Batch, at_speed, contrast, pooled, swapped
from experiments.peer_training import train_peer
from experiments.peers import PEER_OF
from trainer.config.recipe_file import override
from trainer.method.ascnet import distance
from trainer.method.decorrelation import correlation
from trainer.method.memory_bank import ClipLabels
from trainer.pretrain import make_model


@pytest.fixture
def clips() -> torch.Tensor:
    return torch.randn(8, 3, 8, 16, 16, generator=torch.Generator().manual_seed(0))


def batch_of(clips: torch.Tensor, classes: torch.Tensor | None = None, share: float = 1.0) -> Batch:
    videos = torch.arange(len(clips) // 2, device=clips.device).repeat(2)
    stride = torch.ones_like(videos)
    stride[len(clips) // 2 :] = 2
    classes = torch.zeros_like(videos) if classes is None else classes
    return Batch(clips, classes, ClipLabels(stride, videos, videos), share)


@pytest.mark.parametrize("name", PEER_OF)
def test_every_peer_begins_with_our_backbone_and_teaches_it(name, tiny, clips):
    torch.manual_seed(tiny.seed)
    peer = PEER_OF[name](tiny, 2).train()
    ours = make_model(tiny).encoder.backbone
    for theirs, weight in zip(peer.backbone.parameters(), ours.parameters(), strict=True):
        assert torch.equal(theirs, weight)
    loss = peer.loss(batch_of(clips, torch.tensor([0, 1] * 4)))
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.any() for p in peer.backbone.parameters())
    if hasattr(peer, "average"):
        before = [p.clone() for p in peer.average.parameters()]
        assert all(p.grad is None for p in peer.average.parameters())
        with torch.no_grad():
            for p in peer.backbone.parameters():
                p.add_(1.0)
        peer.after_step(0.9)
        after = list(peer.average.backbone.parameters())
        for old, new in zip(before, after, strict=False):
            assert torch.allclose(new, old + 0.1, atol=1e-5)


class OneDevice(TorchDispatchMode):
    """Fails where tensors of two devices meet, as on a GPU; copying from one to the other may."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        values = tree_leaves((args, kwargs or {}))
        devices = {v.device.type for v in values if isinstance(v, torch.Tensor) and v.dim()}
        assert len(devices) < 2 or "copy" in str(func), f"{func} of {devices}"
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("name", PEER_OF)
def test_a_peer_makes_its_tensors_where_the_clips_are(name, tiny, monkeypatch):
    """Of a device that computes nothing, and has no autocast."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    peer = PEER_OF[name](tiny, 2).train().to("meta")
    clips = torch.empty(8, 3, 8, 16, 16, device="meta")
    with OneDevice():
        for _ in range(2):  # the second finds what the first left in its queue
            loss = peer.loss(batch_of(clips))
            peer.after_step(0.9)
    assert loss.device.type == "meta"


@pytest.mark.parametrize("name", HAND_CRAFTED)
def test_hand_crafted_features_are_where_the_clips_are(name):
    clips = torch.empty(2, 3, 4, 8, 8, device="meta")
    with OneDevice():
        assert HAND_CRAFTED[name].features(clips).device.type == "meta"


def test_byol_is_acp_alone(tiny, clips):
    """Without contrast the same loss from the same weights: a check of the one by the other."""
    alone = ("objective.speed_weight=0", "objective.appearance_contrast=0")
    net = make_model(override(tiny, alone))
    peer = PEER_OF["byol"](tiny, 2)
    for part, other in (
        (peer.backbone, net.encoder.backbone),
        (peer.project, net.encoder.appearance),
        (peer.predict, net.predict_appearance),
        (peer.average.backbone, net.target.backbone),
        (peer.average.heads[0], net.target.appearance),
    ):
        part.load_state_dict(other.state_dict())
    batch = batch_of(clips)
    ours = net.train()(clips, batch.labels).total
    loss = peer.train().loss(batch)
    assert float(loss.detach()) == pytest.approx(float(ours.detach()), abs=1e-5)


def test_a_peer_has_the_penalty_of_the_recipe(tiny, training_set):
    trained = []
    for weight in (0, 0, 5):
        settings = override(tiny, (f"objective.decorrelation={weight}", "optim.steps=2"))
        trained.append(next(train_peer("simsiam", settings, training_set).parameters()))
    assert torch.equal(trained[0], trained[1])
    assert not torch.allclose(trained[0], trained[2], rtol=1e-3)


def test_a_peer_tells_how_correlated_its_features_are(tiny, clips):
    peer = PEER_OF["byol"](tiny, 2).train()
    peer.loss(batch_of(clips))
    expected = correlation(pooled(peer.backbone, clips))
    assert float(peer.correlated.detach()) == pytest.approx(float(expected.detach()), abs=1e-5)


def test_contrast_is_the_softmax_of_the_right_key():
    q, k, others = (normalize(torch.randn(n, 4), dim=1) for n in (3, 3, 5))
    logits = torch.stack([torch.cat([(q[i] @ k[i])[None], others @ q[i]]) / 0.2 for i in range(3)])
    expected = -logits.log_softmax(1)[:, 0].mean()
    assert float(contrast(q, k, others, 0.2)) == pytest.approx(float(expected), abs=1e-5)


def test_moco_queues_its_keys(tiny, clips):
    peer = PEER_OF["moco"](tiny, 2).train()
    peer.loss(batch_of(clips))
    keys = normalize(peer.average(clips)[0], dim=1)
    assert torch.allclose(peer.queue.keys[-8:], keys, atol=1e-5) and len(peer.queue.keys) == 512


@pytest.mark.parametrize(("name", "heads"), [("moco", 1), ("rspnet", 2)])
def test_contrastive_peers_learn_to_tell_videos_apart(name, heads, tiny):
    """Clips of a video are the same pattern with noise. By chance: heads x log(513)."""
    torch.manual_seed(0)
    settings = override(tiny, ("model.hidden=64", "model.dim=32"))
    peer = PEER_OF[name](settings, 2).train()
    trained = [p for p in peer.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(trained, lr=0.02, momentum=0.9)
    history = []
    for _ in range(30):
        pattern = torch.randn(16, 3, 1, 4, 4).repeat_interleave(4, 3).repeat_interleave(4, 4)
        clips = torch.cat([pattern, pattern]) + 0.3 * torch.randn(32, 3, 4 * heads, 16, 16)
        loss = peer.loss(batch_of(clips))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        peer.after_step(0.9)
        history.append(float(loss.detach()))
    assert sum(history[-5:]) / 5 < 0.6 * heads * math.log(513)  # the queue is real keys by then


def test_speeds_of_a_long_clip():
    clips = torch.arange(8.0)[None, None, :, None, None].expand(2, 3, 8, 1, 1)
    played = at_speed(clips, torch.tensor([False, True]))
    assert played[:, 0, :, 0, 0].tolist() == [[0, 1, 2, 3], [0, 2, 4, 6]]


def test_rspnet_is_trained_on_long_clips(tiny, training_set, monkeypatch):
    lengths = []
    loss = PEER_OF["rspnet"].loss
    monkeypatch.setattr(
        PEER_OF["rspnet"], "loss", lambda self, b: lengths.append(b.clips.shape[2]) or loss(self, b)
    )
    train_peer("rspnet", override(tiny, ("optim.steps=2",)), training_set)
    assert lengths == [2 * tiny.data.frames] * 2


def test_epps_pulley_by_hand():
    """Closed forms: of a normal sample it is the integral of (1 - exp(-t^2)) exp(-t^2 / 2) on the
    average, of n zeros n times that of (1 - exp(-t^2 / 2))^2 exp(-t^2 / 2)."""
    torch.manual_seed(0)
    normal, root = torch.randn(500, 400), math.sqrt(2 * math.pi)
    assert float(epps_pulley(normal).mean()) == pytest.approx(root * (1 - 1 / 3**0.5), rel=0.1)
    zeros = 500 * root * (1 - 2 / 2**0.5 + 1 / 3**0.5)
    assert float(epps_pulley(torch.zeros(500, 2))[1]) == pytest.approx(zeros, rel=1e-3)
    for other in (2 * normal, normal + 1, normal.sign()):
        assert float(epps_pulley(other).mean()) > 10


def test_vicreg_by_hand():
    apart = torch.tensor([[1.5, 1.5], [1.5, -1.5], [-1.5, 1.5], [-1.5, -1.5]])
    alike = apart[:, :1].expand(4, 2)
    for first, second, expected in (
        (apart, apart, 0),  # they agree, vary by more than 1, and not together
        (apart, apart + 2, 25 * 4),
        (torch.zeros(4, 2), torch.zeros(4, 2), 25 * 0.99),
        (alike, alike, 2 * 3.0**2),  # the covariance is 3, above the diagonal and below
    ):
        assert float(vicreg(first, second)) == pytest.approx(expected, abs=1e-4)


def test_sigreg_wants_agreement_and_a_normal_distribution():
    torch.manual_seed(0)
    normal, other = torch.randn(2, 256, 16)
    best = float(sigreg(normal, normal))
    assert best == pytest.approx(0.05 * 1.06, rel=0.2)
    assert sigreg(normal, other) > best + 0.4  # each is half a variance of 2 from the mean
    collapsed = torch.zeros(256, 16)
    assert float(sigreg(collapsed, collapsed)) == pytest.approx(0.05 * 256 * 0.409, rel=0.01)


@pytest.mark.parametrize(("name", "alone"), [("vicreg-speed", vicreg), ("sigreg-speed", sigreg)])
def test_with_speed_the_loss_is_both(name, alone, tiny, clips):
    """SCP's part is the product's own: its losses on the same embeddings and the same bank."""
    few = ("objective.speed_weight=0.5", "objective.neighbours=2", "objective.bank=16")
    peer = PEER_OF[name](override(tiny, few), 2).train()
    batch = batch_of(clips)
    peer.loss(batch)  # fills the bank
    bank = copy.deepcopy(peer.bank)
    torch.manual_seed(1)
    loss = float(peer.loss(batch).detach())

    features = peer.features(clips)
    appearance = peer.project(features)
    torch.manual_seed(1)
    expected = alone(*appearance.chunk(2))
    similarity = bank.similarity(normalize(appearance, dim=1))
    same, found = bank.nearest(similarity, batch.labels, 2, "same")
    other, other_found = bank.nearest(similarity, batch.labels, 2, "other")
    assert found.all() and other_found.all()
    target = bank.speed[same].mean(1) - bank.speed[other].mean(1)
    scp = distance(peer.speed(features), target).mean()
    assert loss == pytest.approx(float((expected + 0.5 * scp).detach()), abs=1e-4)


def test_simsiam_stops_the_gradient_of_the_other_clip(tiny, clips):
    peer = PEER_OF["simsiam"](tiny, 2).train()
    torch.nn.init.zeros_(peer.predict[0].weight)
    peer.loss(batch_of(clips)).backward()
    assert all(p.grad is None or not p.grad.any() for p in peer.backbone.parameters())


def test_swapped():
    assert swapped(torch.tensor([1, 2, 3, 4])).tolist() == [3, 4, 1, 2]
    rows = torch.randn(4, 3)
    assert torch.allclose(distance(rows, swapped(swapped(rows))), torch.zeros(4), atol=1e-5)
