import pytest

from evaluate.finetune.settings import FinetuneSettings
from trainer.config.settings import Optim
from trainer.schedules import scaled_lr, target_momentum, total_steps, warmup_cosine, warmup_drops


@pytest.mark.parametrize(
    "videos, settings, expected",
    [
        (9537, Optim(batch=32, epochs=30.0), 8941),
        (9537, Optim(batch=32, epochs=30.0, steps=7), 7),
        (10, Optim(batch=4, epochs=2), 5),
        (1, Optim(batch=32, epochs=0.1), 1),
        (9537, FinetuneSettings(batch=32, epochs=30.0), 8941),
    ],
)
def test_total_steps(videos, settings, expected):
    assert total_steps(settings, videos) == expected


def test_learning_rate():
    assert warmup_cosine(0, 100, 0.1) == pytest.approx(1 / 11)
    assert warmup_cosine(10, 100, 0.1) == 1.0
    assert warmup_cosine(55, 100, 0.1) == pytest.approx(0.5)
    assert warmup_cosine(99, 100, 0.1) == pytest.approx(0.0, abs=1e-3)
    assert warmup_cosine(100, 100, 0.1) == warmup_cosine(150, 100, 0.1) == 0.0
    assert warmup_cosine(0, 1, 0.0) == 1.0
    rising = [warmup_cosine(s, 100, 0.1) for s in range(11)]
    assert rising == sorted(rising)


def test_learning_rate_in_drops():
    def rate(step: int, total: int = 100) -> float:
        return warmup_drops(step, total, 0.1, (0.55, 0.7), 0.1)

    assert rate(0) == pytest.approx(1 / 11)
    assert rate(10) == rate(54) == 1.0
    assert rate(55) == rate(69) == pytest.approx(0.1)  # 0.55 * 100 is a little more than 55
    assert rate(70) == rate(99) == rate(150) == pytest.approx(0.01)
    assert warmup_drops(0, 1, 0.0, (), 0.1) == 1.0


def test_momentum_of_the_target():
    assert target_momentum(0, 100, 0.996) == pytest.approx(0.996)
    assert target_momentum(50, 100, 0.996) == pytest.approx(0.998)
    assert target_momentum(100, 100, 0.996) == target_momentum(200, 100, 0.996) == 1.0


def test_linear_scaling():
    assert scaled_lr(0.1, 64) == 0.1
    assert scaled_lr(0.1, 256) == pytest.approx(0.4)
