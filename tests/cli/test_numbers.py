"""Numbers in tables that could be those of the column beside."""


def test_the_chance_of_a_captioned_set_is_that_of_recall_at_ten(seesay, paint, tmp_path):
    """Two of four images are the same: R@1 is 50, R@5 and R@10 are 100; ten guesses among four always hit."""
    for name, colour in (("one", "red"), ("other", "red"), ("green", "green"), ("blue", "blue")):
        paint(tmp_path / "twins" / f"{name}.png", colour)
        (tmp_path / "twins" / f"{name}.txt").write_text(f"all {colour}")
    code, out, _ = seesay("evaluate", "box", tmp_path / "twins")
    assert code == 0
    by_text, by_image = (" ".join(line.split()) for line in out.splitlines()[2:])
    assert by_text == "twins 4 4 text to image 50.0 100.0 100.0 [39.8, 100.0] 100.0"
    assert by_image == "twins 4 4 image to text 50.0 100.0 100.0 [39.8, 100.0] 100.0"
