import torch
from torch.nn.functional import normalize

from trainer.bank import MemoryBank


def entries(*rows: tuple[float, int, int, int]) -> tuple[torch.Tensor, ...]:
    """(angle, stride, video, group) to what `append` takes; speed is the angle's negative."""
    angle = torch.tensor([row[0] for row in rows])
    vectors = torch.stack([torch.cos(angle), torch.sin(angle)], 1)
    return (vectors, -vectors, *(torch.tensor([row[i] for row in rows]) for i in (1, 2, 3)))


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


def test_the_nearest_of_the_same_speed_and_another_recording():
    bank = mixed_bank(8)
    query, _, stride, video, group = entries((0.0, 1, 0, 0))
    places, found = bank.neighbours(bank.similarity(query), stride, video, group, 2)
    assert places.tolist() == [[3, 4]] and found.all()
    places, found = bank.neighbours(
        bank.similarity(query), stride, video, group, 1, exclude_siblings=False
    )
    assert places.tolist() == [[1]] and found.all()


def test_nothing_is_found_in_an_empty_bank_or_among_siblings_only():
    bank = MemoryBank(4, 2)
    query, speed, stride, video, group = entries((0.0, 1, 0, 0))
    assert not bank.neighbours(bank.similarity(query), stride, video, group, 1)[1].any()
    bank.append(query, speed, stride, video + 1, group)
    assert not bank.neighbours(bank.similarity(query), stride, video, group, 3)[1].any()
    places, found = bank.neighbours(bank.similarity(query), stride, video, group + 1, 3)
    assert found.tolist() == [[True, False, False]] and places[0, 0] == 0


def test_random_scores_find_any_entry_that_is_allowed_and_none_else():
    bank = mixed_bank(6)
    _, _, *labels = entries(*[(0.0, 1, 0, 0)] * 400)
    scores = torch.rand(400, 6, generator=torch.Generator().manual_seed(0))
    places, found = bank.neighbours(scores, *labels, 1)
    assert found.all() and set(places.flatten().tolist()) == {3, 4}
    assert 150 < int((places == 3).sum()) < 250  # both as often
    places, found = bank.neighbours(scores, *labels, 2)
    assert found.all() and (places.sort().values == torch.tensor([3, 4])).all()  # each once
    places, found = bank.neighbours(scores, *labels, 1, exclude_siblings=False)
    assert set(places.flatten().tolist()) == {1, 3, 4}


def test_against_brute_force():
    generator = torch.Generator().manual_seed(0)

    def draw(n: int) -> tuple[torch.Tensor, ...]:
        vectors = normalize(torch.randn(n, 5, generator=generator), dim=1)
        ids = [
            torch.randint(lo, hi, (n,), generator=generator) for lo, hi in ((1, 3), (0, 9), (0, 4))
        ]
        return (vectors, vectors, *ids)

    bank = MemoryBank(30, 5)
    bank.append(*draw(30))
    query, _, stride, video, group = draw(12)
    places, found = bank.neighbours(bank.similarity(query), stride, video, group, 1)
    for i in range(12):
        best, where = -2.0, None
        for j in range(30):
            similar = float(query[i] @ bank.appearance[j])
            fits = bank.stride[j] == stride[i] and bank.video[j] != video[i]
            if fits and bank.group[j] != group[i] and similar > best:
                best, where = similar, j
        assert (where is not None) == bool(found[i, 0])
        if where is not None:
            assert places[i, 0] == where


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


def test_the_nearest_at_other_speeds_but_no_empty_places():
    bank = mixed_bank(8)
    query, _, stride, video, group = entries((0.0, 1, 0, 0))
    scores = bank.similarity(query)
    places, found = bank.neighbours(scores, stride, video, group, 2, strides="other")
    assert places[0, 0] == 2 and found.tolist() == [[True, False]]
    assert not bank.neighbours(scores, stride, video, group + 1, 1, strides="other")[1].any()


def test_the_nearest_at_any_speed_but_no_empty_places():
    bank = mixed_bank(8)
    query, _, stride, video, group = entries((0.0, 1, 0, 0))
    scores = bank.similarity(query)
    found = {
        strides: set(places[there].tolist())
        for strides in ("own", "other", "any")
        for places, there in [bank.neighbours(scores, stride, video, group, 8, True, strides)]
    }
    assert found["own"] and found["other"]
    assert found["any"] == found["own"] | found["other"]
