"""From readings to tables."""

import unittest

from report import P99, RATE, WIDTH, Against, Row, Table, compare, losses, number, render, span

TABLE = Table("", "a cell", (RATE, P99))


def row(label, *rounds, **more):
    return Row(label, tuple({"rate": rate, "p99_ms": p99} for rate, p99 in rounds), **more)


class Numbers(unittest.TestCase):
    def test_three_figures(self):
        for value, text in [
            (0, "0"),
            (0.0814, "0.081"),
            (0.995, "0.995"),
            (0.9996, "1.00"),
            (4.144, "4.14"),
            (52.14, "52.1"),
            (99.96, "100"),
            (517.8, "518"),
            (9994, "9,990"),
            (9996, "10.0k"),
            (14_199.8, "14.2k"),
            (140_499, "140k"),
        ]:
            self.assertEqual(number(value), text, value)

    def test_median_with_the_least_and_the_most(self):
        self.assertEqual(span([3, 1, 20]), "3.00 (1.00–20.0)")
        self.assertEqual(span([4]), "4.00")


class Comparisons(unittest.TestCase):
    def test_a_ratio_is_a_cost_in_both_directions(self):
        rows = [row("tierce", (1000, 10)), row("one", (500, 20)), row("other", (1250, 40))]
        rate, p99 = compare(RATE, rows), compare(P99, rows)
        self.assertEqual((rate.best, rate.ratio, rate.verdict), ("other", 1.25, "LOSS"))
        self.assertEqual((p99.best, p99.ratio, p99.verdict), ("one", 0.5, "ahead"))

    def test_the_medians_are_compared_so_that_the_verdict_is_what_the_table_shows(self):
        rows = [
            row("tierce", (100, 1), (200, 1), (300, 1)),
            row("steady", (250, 1), (100, 1), (220, 1)),
            row("lucky", (100, 1), (100, 1), (900, 1)),
        ]
        found = compare(RATE, rows)
        self.assertEqual((found.best, found.ratio, found.verdict), ("steady", 1.1, "LOSS"))
        self.assertEqual(found.span(), "1.10 (0.50–2.50)")

    def test_what_is_void_or_ours_is_no_peer(self):
        rows = [row("tierce", (1000, 10)), row("tierce+log", (9000, 1)), row("broken", (9000, 1), void="why")]
        self.assertIsNone(compare(RATE, rows))
        self.assertEqual(compare(RATE, [*rows, row("peer", (500, 5))]).best, "peer")
        self.assertIsNone(compare(RATE, [row("tierce", (1000, 10), void="why"), row("peer", (500, 5))]))

    def test_a_difference_that_is_not_shown_is_none(self):
        rows = [row("tierce", (1000, 10)), row("peer", (1004, 10))]
        self.assertEqual(compare(RATE, rows).verdict, "even")

    def test_losses_are_told_together(self):
        rows = [row("tierce", (1000, 10)), row("peer", (2000, 20))]
        self.assertEqual(losses([("cell", TABLE, rows)]), "LOSSES (1):\n  cell: requests/s 2.00 × peer")
        self.assertEqual(losses([("cell", Table("", "", (P99,)), rows)]), "no losses")
        void = [row("tierce", void="why"), row("peer", (2000, 20))]
        self.assertEqual(losses([("cell", TABLE, void)]), "LOSSES (1):\n  cell: void, why")


class Tables(unittest.TestCase):
    def test_a_table_as_it_is_read(self):
        rows = [
            row("tierce", (14_200, 6.5), (14_000, 7), (15_000, 6), note="5 hosts"),
            row("peer", (7_100, 26), (7_000, 28), (7_500, 24)),
            row("broken", void="12 answers were not 2xx (round 2)", note="not told"),
        ]
        self.assertEqual(
            render(TABLE, rows).splitlines(),
            [
                "== a cell",
                "        requests/s           p99 ms",
                "tierce  14.2k (14.0k–15.0k)  6.50 (6.00–7.00)",
                "peer    7,100 (7,000–7,500)  26.0 (24.0–28.0)",
                "broken  void: 12 answers were not 2xx (round 2)",
                "ratio   0.50 (0.50–0.50)     0.25 (0.25–0.25)",
                "        ahead, peer          ahead, peer",
                "tierce: 5 hosts",
            ],
        )

    def test_what_is_a_ratio_already_is_not_held_against_the_peers(self):
        table = Table("", "a change", (RATE,), Against.NOTHING)
        rows = [row("tierce", (0.5, 1)), row("peer", (1.4, 1))]
        self.assertEqual(render(table, rows).splitlines()[1:], ["        requests/s", "tierce  0.500", "peer    1.40"])
        self.assertEqual(losses([("cell", table, rows)]), "no losses")

    def test_the_widest_table_and_the_longest_reason_fit(self):
        table = Table("", "a cell", (RATE, RATE, P99, P99))
        rounds = ((19_900, 1990), (10_000, 1000), (99_900, 9990))
        rows = [row("tierce+log", *rounds), row("granian-64", *rounds), row("tierce", *rounds)]
        rows.append(row("broken", void="x" * 200))
        self.assertLessEqual(max(map(len, render(table, rows).splitlines())), WIDTH)
