"""From readings to rows."""

import unittest

from cells import Reading
from run import hopeless, row


class Rows(unittest.TestCase):
    def test_one_error_in_one_round_makes_a_row_void(self):
        good, bad = {"": Reading({"rate": 1})}, {"": Reading({}, ["3 requests failed", "more"])}
        self.assertEqual(row("peer", "", [good, bad, good]).void, "3 requests failed (round 2)")
        self.assertEqual(row("peer", "", [good, good]).void, "")

    def test_the_note_is_of_the_last_round(self):
        rounds = [{"": Reading({}, note="first")}, {"": Reading({}, note="last")}]
        self.assertEqual(row("peer", "", rounds).note, "last")

    def test_a_server_with_a_void_row_is_measured_on_for_its_other_tables(self):
        good, bad = Reading({"rate": 1}), Reading({}, ["why"])
        self.assertFalse(hopeless({"alone": good, "burning": bad}))
        self.assertTrue(hopeless({"alone": bad, "burning": bad}))
