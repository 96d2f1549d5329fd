from itertools import accumulate

from evaluate.features.batches import MOST_CLIPS, Memory, cost_of, lengths, limit_of
from evaluate.protocol import Protocol

GB = 1 << 30
R3D = Protocol(frames=16, size=112)
S3D = Protocol(frames=64, size=224)


def first_length(free: int, frame: tuple[int, int], protocol: Protocol, network: int) -> int:
    """Of the batches of very many such clips."""
    cost = cost_of(frame, protocol, network)
    return next(lengths([cost] * 1000, limit_of(free)))


def test_a_batch_follows_the_memory_of_the_gpu():
    """With what S3D-G and R3D-18 take for a clip in float32, about."""
    s3d = [first_length(free * GB, (256, 340), S3D, 700 << 20) for free in (10, 22, 78, 139)]
    assert s3d == [4, 8, 32, 32]  # the last two: of 512 MiB of frames in page-locked memory
    assert first_length(78 * GB, (128, 170), R3D, 60 << 20) == MOST_CLIPS
    assert first_length(1 << 20, (256, 340), S3D, 700 << 20) == 1


def test_a_little_more_or_less_free_memory_changes_no_batch():
    assert limit_of(77 * GB) == limit_of(66 * GB) == Memory(512 << 20, 32 * GB)
    assert limit_of(0).device == 1


def test_on_a_cpu_the_memory_of_frames_is_bounded():
    assert cost_of((256, 340), S3D, 0) == Memory(64 * 224 * 224 * 3 * 4)
    assert cost_of((480, 640), R3D, 0) == Memory(16 * 480 * 640 * 3)


def test_a_large_clip_costs_itself():
    costs = [Memory(size, 1) for size in (3, 3, 3, 50, 3, 3, 3, 3)]
    assert list(lengths(costs, Memory(9, 100))) == [3, 1, 3, 1]
    assert list(lengths(costs, Memory(900, 2))) == [2, 2, 2, 2]
    assert list(accumulate(lengths(costs, Memory(0, 0)))) == list(range(1, 9))
    assert list(lengths([], Memory(9, 9))) == []
