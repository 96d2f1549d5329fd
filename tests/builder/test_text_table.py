from builder.text_table import aligned, markdown


def test_columns_are_as_wide_as_their_widest_cell_is_on_a_terminal():
    rows = [["", "n", "video"], ["漢字", "7", "a.mp4"], ["x", "12", ""]]
    assert aligned(rows, right=(1,)) == ["       n  video", "漢字   7  a.mp4", "x     12"]
    assert aligned(rows, gap=" ")[1] == "漢字 7  a.mp4"


def test_markdown():
    rows = [["way", "ms"], ["ours", "1.0"]]
    assert markdown(rows) == "| way | ms |\n| --- | ---: |\n| ours | 1.0 |"
