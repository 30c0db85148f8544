"""Who has answered."""

import unittest
from collections import Counter

from clients import content_length, parse_server, spread
from servers import Failed


class Answers(unittest.TestCase):
    def test_host_and_process_are_read(self):
        self.assertEqual(parse_server("HOSTNAME=web.2 PID=77\n"), ("web.2", 77))
        with self.assertRaises(Failed):
            parse_server("Bad Gateway\n")

    def test_the_spread_in_words(self):
        hosts, processes = Counter({"a": 10, "b": 12}), Counter({("a", 1): 10, ("b", 2): 12})
        self.assertEqual(spread(hosts, processes), "2 hosts (10–12 each), 2 processes (10–12 each)")
        self.assertEqual(spread(Counter({"a": 5}), Counter({("a", 1): 5})), "1 host (5 each), 1 process (5 each)")

    def test_the_length_of_an_answer(self):
        self.assertEqual(content_length(b"HTTP/1.1 200 OK\r\nContent-length: 6\r\nX: 1"), 6)
        with self.assertRaises(ValueError):
            content_length(b"HTTP/1.1 200 OK\r\nX-Content-Length: 6")
