"""CPU time and memory of a tree of processes."""

import unittest

from proc import Stat, parse_size, parse_stat, tree


class Proc(unittest.TestCase):
    def test_a_name_may_hold_anything(self):
        line = "42 (a) b (c)) S 7 42 42 0 -1 4194560 100 200 0 0 11 22 333 444 20 0 1 0 5000 1 2"
        self.assertEqual(parse_stat(line), Stat(parent=7, ticks=11 + 22 + 333 + 444))

    def test_a_tree_holds_all_descendants_and_nobody_else(self):
        parents = {1: 0, 10: 1, 11: 10, 12: 10, 13: 12, 20: 1, 21: 20}
        stats = {pid: Stat(parent, 0) for pid, parent in parents.items()}
        self.assertEqual(sorted(tree(10, stats)), [10, 11, 12, 13])
        self.assertEqual(tree(99, stats), [], "it has ended")

    def test_sizes_are_read_in_bytes(self):
        text = "00400000-7fff ---p [rollup]\nRss:  9000 kB\nPss:   1234 kB\nPss_Dirty: 1 kB\nAnonymous:  12 kB\n"
        self.assertEqual(parse_size(text, "Pss"), 1234 * 1024)
        self.assertEqual(parse_size(text, "Anonymous"), 12 * 1024)
