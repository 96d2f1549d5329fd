from experiments.real_clips import clips_of_test_set, share_of


def clip(subset: str, group: str, number: int, cls: str = "a") -> dict[str, str]:
    name = f"{subset}/{group}_{number}.mp4"
    return {"file": name, "subset": subset, "cls": cls, "group": group}


CLIPS = [
    clip(subset, f"g{group}", number)
    for subset, groups in {"arid": 10, "wlasl": 20}.items()
    for group in range(groups)
    for number in range(1 + group % 3)
]


def test_a_share_has_whole_groups_of_every_subset_and_all_of_a_smaller_share():
    shares = {percent: {c["file"] for c in share_of(CLIPS, percent)} for percent in (10, 30, 100)}
    assert shares[10] < shares[30] < shares[100] == {c["file"] for c in CLIPS}
    for percent, files in shares.items():
        for subset in ("arid", "wlasl"):
            own = [c for c in CLIPS if c["subset"] == subset]
            taken = [c for c in own if c["file"] in files]
            assert abs(len(taken) - len(own) * percent / 100) <= 1.5  # half of the largest group
            groups = {c["group"] for c in taken}
            assert len(taken) == sum(c["group"] in groups for c in own)


def test_test_sets():
    fights = [
        clip("fight_surv", "both", 0, "fight"),
        clip("fight_surv", "both", 1, "noFight"),
        clip("fight_surv", "one", 0, "fight"),
    ]
    tricks = [
        clip("skateboard", "autumn_court", 0, "Ollie"),
        clip("skateboard", "autumn_court", 1, "Kickflip"),
        clip("skateboard", "parking_lot", 0, "Ollie"),
    ]
    clips = [*CLIPS, *fights, *tricks]
    assert clips_of_test_set("fight_surv", clips) == fights[:2]
    assert clips_of_test_set("arid", clips) == [c for c in CLIPS if c["subset"] == "arid"]
    assert clips_of_test_set("skateboard_others", clips) == tricks[2:]
    court = clips_of_test_set("skateboard_court", clips)
    assert [c["file"] for c in court] == [c["file"] for c in tricks[:2]]
    assert len({c["group"] for c in court}) == 2
