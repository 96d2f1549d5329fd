import torch
from torch.nn.functional import normalize

from trainer.method.memory_bank import ClipLabels, MemoryBank


def entries(*rows: tuple[float, int, int, int]) -> tuple[torch.Tensor, torch.Tensor, ClipLabels]:
    """(angle, stride, video, group) to what `append` takes; speed is the angle's negative."""
    angle = torch.tensor([row[0] for row in rows])
    vectors = torch.stack([torch.cos(angle), torch.sin(angle)], 1)
    return vectors, -vectors, labels_of([row[1:] for row in rows])


def labels_of(rows: list[tuple[int, int, int]]) -> ClipLabels:
    return ClipLabels(*(torch.tensor(column) for column in zip(*rows, strict=True)))


def mixed_bank(size: int) -> MemoryBank:
    """Of a clip of video 0 at stride 1, and five that are ever farther from it in appearance."""
    bank = MemoryBank(size, 2)
    bank.append(
        *entries(
            (0.00, 1, 0, 0),  # the video itself
            (0.01, 1, 1, 0),  # a sibling
            (0.02, 2, 2, 1),  # another speed
            (0.30, 1, 3, 2),  # the nearest that is allowed
            (0.90, 1, 4, 3),
        )
    )
    return bank


CLIP = (0.0, 1, 0, 0)


def nearest(bank: MemoryBank, row: tuple[float, int, int, int], k: int, speed="same", **how):
    """Slots and found of one clip."""
    query, _, labels = entries(row)
    slots, found = bank.nearest(bank.similarity(query), labels, k, speed, **how)
    return slots[0].tolist(), found[0].tolist()


def test_the_nearest_of_the_same_speed_and_another_recording():
    bank = mixed_bank(8)
    assert nearest(bank, CLIP, 2) == ([3, 4], [True, True])
    assert nearest(bank, CLIP, 1, exclude_siblings=False) == ([1], [True])


def test_nothing_is_found_in_an_empty_bank_or_among_siblings_only():
    bank = MemoryBank(4, 2)
    assert not any(nearest(bank, CLIP, 1)[1])
    bank.append(*entries((0.0, 1, 1, 0)))
    assert not any(nearest(bank, CLIP, 3)[1])
    slots, found = nearest(bank, (0.0, 1, 0, 1), 3)
    assert found == [True, False, False] and slots[0] == 0


def test_against_brute_force():
    generator = torch.Generator().manual_seed(0)

    def draw(n: int) -> tuple[torch.Tensor, torch.Tensor, ClipLabels]:
        vectors = normalize(torch.randn(n, 5, generator=generator), dim=1)
        ids = [
            torch.randint(lo, hi, (n,), generator=generator) for lo, hi in ((1, 3), (0, 9), (0, 4))
        ]
        return vectors, vectors, ClipLabels(*ids)

    bank = MemoryBank(30, 5)
    bank.append(*draw(30))
    query, _, labels = draw(12)
    stride, video, group = labels.stride, labels.video, labels.group
    slots, found = bank.nearest(bank.similarity(query), labels, 1, "same")
    for i in range(12):
        best, where = -2.0, None
        for j in range(30):
            similar = float(query[i] @ bank.appearance[j])
            fits = bank.stride[j] == stride[i] and bank.video[j] != video[i]
            if fits and bank.group[j] != group[i] and similar > best:
                best, where = similar, j
        assert (where is not None) == bool(found[i, 0])
        if where is not None:
            assert slots[i, 0] == where


def test_the_oldest_go():
    bank = MemoryBank(3, 2)
    bank.append(*entries((0, 1, 10, 0), (0, 1, 11, 0)))
    bank.append(*entries((0, 1, 12, 0), (0, 1, 13, 0)))
    assert bank.video.tolist() == [13, 11, 12]
    bank.append(*entries(*((0, 1, v, 0) for v in range(20, 27))))
    assert sorted(bank.video.tolist()) == [24, 25, 26]


def test_the_bank_is_in_the_state_dict():
    bank = MemoryBank(3, 2)
    bank.append(*entries((0.5, 2, 10, 7)))
    again = MemoryBank(3, 2)
    again.load_state_dict(bank.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(bank.buffers(), again.buffers(), strict=True))
    assert int(again.head) == 1


def test_the_nearest_at_other_speeds_but_no_empty_slots():
    bank = mixed_bank(8)
    slots, found = nearest(bank, CLIP, 2, "other")
    assert slots[0] == 2 and found == [True, False]
    assert not any(nearest(bank, (0.0, 1, 0, 1), 1, "other")[1])


def test_the_nearest_at_any_speed_but_no_empty_slots():
    bank = mixed_bank(8)
    by_speed = {
        speed: {slot for slot, found in zip(*nearest(bank, CLIP, 8, speed), strict=True) if found}
        for speed in ("same", "other", "any")
    }
    assert by_speed["same"] and by_speed["other"]
    assert by_speed["any"] == by_speed["same"] | by_speed["other"]


def test_the_age_of_an_entry_is_how_many_came_after_it():
    bank = MemoryBank(4, 2)
    bank.append(*entries(*((0, 1, video, 0) for video in range(6))))
    ages = dict(zip(bank.video.tolist(), bank.age(torch.arange(4)).tolist(), strict=True))
    assert ages == {5: 0, 4: 1, 3: 2, 2: 3}


def test_the_latest_are_those_that_came_last():
    bank = MemoryBank(4, 2)
    bank.append(*entries((0.1, 1, 0, 0), (0.2, 2, 1, 0)))
    assert bank.latest(9)[2].tolist() == [2, 1]  # no empty slots
    bank.append(*entries(*((0.0, stride, 2, 0) for stride in range(3, 7))))
    appearance, speed, stride = bank.latest(3)
    assert stride.tolist() == [6, 5, 4]
    assert appearance.shape == speed.shape == (3, 2)
