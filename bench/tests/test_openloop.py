"""Requests at fixed times."""

import http.server
import threading
import time
import unittest

from load import parse_open_loop
from openloop import Load, answer_status, arrivals, percentile
from servers import Failed


class Answers(unittest.TestCase):
    def test_whole_and_not(self):
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n"
        for data, status, again in [
            (b"HTTP/1.1 200 OK\r\n", None, True),
            (head + b"\r\nab", None, True),
            (head + b"\r\nabc", 200, True),
            (head + b"Connection: close\r\n\r\nabc", 200, False),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", None, True),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200, True),
            (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 200, False),
            (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", 503, False),
        ]:
            self.assertEqual(answer_status(data), (status, again), data)


class Times(unittest.TestCase):
    def test_the_times_are_the_same_in_each_run_and_as_many_as_wanted(self):
        times = arrivals(1000, 4)
        self.assertEqual(times, arrivals(1000, 4))
        self.assertEqual(times, sorted(times))
        self.assertAlmostEqual(len(times), 4000, delta=200)
        self.assertLess(times[-1], 4)

    def test_percentiles(self):
        hundred = list(range(1, 101))
        self.assertEqual([percentile(hundred, share) for share in (1, 50, 99)], [1, 50, 99])
        self.assertEqual(percentile([7], 99), 7)


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Halting(Load):
    """Has no time for anything while it connects."""

    def connect(self):
        time.sleep(0.1)
        return super().connect()


class Loop(unittest.TestCase):
    def run_load(self, kind, path, times):
        server = http.server.HTTPServer(("127.0.0.1", 0), Page)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            load = kind("127.0.0.1", server.server_port, path, times)
            load.run()
            return load.report()
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def test_time_is_counted_from_when_a_request_was_due(self):
        found = self.run_load(Halting, "/", [0.0, 0.001, 0.002])
        self.assertEqual((found["requests"], found["failures"]), (3, {}))
        self.assertGreaterEqual(found["late_p99_ms"], 290)
        self.assertGreaterEqual(found["p99_ms"], 290)

    def test_answers_that_are_no_success_are_counted(self):
        found = self.run_load(Load, "/none", [0.0, 0.001])
        self.assertEqual(found["failures"], {"status 404": 2})


class Reports(unittest.TestCase):
    def test_a_late_generator_is_an_error(self):
        report = '{"requests": 10, "p50_ms": 1.5, "p99_ms": 9.5, "late_p99_ms": %s, "busy_percent": %s, "failures": {}}'
        self.assertEqual(parse_open_loop(report % (0.1, 20), 100).errors, [])
        self.assertEqual(parse_open_loop(report % (3.0, 20), 100).errors, ["the load was 3.0 ms late (p99), and 20 % busy"])
        self.assertEqual(len(parse_open_loop(report % (0.1, 90), 100).errors), 1)
        slow = report.replace("9.5", "20")
        self.assertEqual(parse_open_loop(slow % (3.0, 20), 100).errors, [], "what matters little")

    def test_failures_are_errors(self):
        times = '"p50_ms": 1, "p99_ms": 9, "late_p99_ms": 0, "busy_percent": 1'
        result = parse_open_loop('{"requests": 10, %s, "failures": {"status 503": 2}}' % times, 100)
        self.assertEqual((result.errors, result.failed), (["2 requests: status 503"], 2))

    def test_no_report_is_a_failure_with_its_reason(self):
        with self.assertRaisesRegex(Failed, "ConnectionRefusedError"):
            parse_open_loop("Traceback\nConnectionRefusedError: [Errno 111]\n", 100)
