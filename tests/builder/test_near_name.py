from builder.near_name import did_you_mean, near_name

NAMES = ("ucf101", "hmdb51", "kinetics400")


def test_case_hyphens_and_underscores_do_not_count():
    assert near_name("UCF-101", NAMES) == near_name("ucf_101", NAMES) == "ucf101"


def test_swapped_letters_are_near_and_other_words_are_not():
    assert did_you_mean("ufc101", NAMES) == " Did you mean ucf101?"
    assert did_you_mean("shapes", NAMES) == ""
