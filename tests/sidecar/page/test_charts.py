from s3d.page.charts import HEIGHT, WIDTH, points


def test_a_chart_has_its_newest_value_at_the_right_and_its_largest_at_the_top() -> None:
    line, area = points([0, 4, 2], slots=5)
    corners = [tuple(map(float, corner.split(","))) for corner in line.split()]
    assert corners == [(WIDTH / 2, HEIGHT), (WIDTH * 0.75, 2), (WIDTH, HEIGHT / 2 + 1)]
    assert area == f"{WIDTH / 2:g},{HEIGHT} {line} {WIDTH},{HEIGHT}"


def test_a_chart_of_nothing_is_flat() -> None:
    assert points([0, 0], slots=2)[0] == f"0,{HEIGHT} {WIDTH},{HEIGHT}"
    assert points([], slots=2) == ("", "")


def test_a_single_value_is_seen() -> None:
    assert points([1], slots=3)[0] == f"{WIDTH / 2:g},2 {WIDTH},2"
