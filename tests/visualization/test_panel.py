"""Which images a panel shows; the panel itself is tested with its command."""

from selnext_mm.visualization.panel import choose_images


def test_chosen_images_spread_over_the_set():
    assert choose_images(list(range(100)), 4) == [12, 37, 62, 87]
    assert choose_images([5, 3], 8) == [3, 5]
    for seed in range(5):
        ids = choose_images(list(range(100)), 4, seed)
        assert [i // 25 for i in ids] == [0, 1, 2, 3]
    assert choose_images(list(range(100)), 4, 1) != choose_images(list(range(100)), 4, 2)
