"""What wrk and ab say, read."""

import unittest

from load import parse_ab, parse_wrk
from servers import Failed

WRK = """Running 2s test @ http://127.0.0.1:18300/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     4.51ms    1.02ms  21.40ms   90.00%
    Req/Sec    14.20k     1.00k   15.00k    80.00%
  Latency Distribution
     50%    4.14ms
     75%    4.80ms
     90%    5.30ms
     99%    1.15s 
  28410 requests in 2.00s, 4.36MB read
Requests/sec:  14199.80
Transfer/sec:      2.18MB
"""

AB = """Server Software:        tierce
Concurrency Level:      1000
Time taken for tests:   2.500 seconds
Complete requests:      10000
Failed requests:        0
Total transferred:      1940000 bytes
Requests per second:    4000.00 [#/sec] (mean)
Time per request:       250.000 [ms] (mean)

Percentage of the requests served within a certain time (ms)
  50%    166
  66%    170
  99%    288
 100%    301 (longest request)
"""


class Wrk(unittest.TestCase):
    def test_figures_are_read_in_milliseconds(self):
        result = parse_wrk(WRK)
        self.assertEqual((result.requests, result.rate, result.p50, result.p99), (28410, 14199.8, 4.14, 1150.0))
        self.assertEqual(result.errors, [])
        self.assertEqual(parse_wrk(WRK.replace("4.14ms", "81.00us")).p50, 0.081)
        self.assertEqual(parse_wrk(WRK.replace("4.14ms", "1.50m")).p50, 90_000)

    def test_whatever_went_wrong_is_an_error(self):
        refused = WRK + "  Non-2xx or 3xx responses: 1200\n"
        self.assertEqual(parse_wrk(refused).errors, ["1,200 answers were not 2xx"])
        broken = WRK + "  Socket errors: connect 0, read 17, write 0, timeout 3\n"
        self.assertEqual(parse_wrk(broken).errors, ["connections failed: read 17, timeout 3"])
        starved = WRK.replace("28410 requests", "0 requests")
        self.assertEqual(parse_wrk(starved).errors, ["not one request was answered"])

    def test_no_report_is_a_failure(self):
        with self.assertRaisesRegex(Failed, "unable to connect"):
            parse_wrk("unable to connect to 127.0.0.1:18300 Connection refused\n")


class Ab(unittest.TestCase):
    def test_figures_are_read(self):
        result = parse_ab(AB, wanted=10000)
        self.assertEqual((result.requests, result.rate, result.p50, result.p99), (10000, 4000.0, 166, 288))
        self.assertEqual(result.errors, [])

    def test_answers_that_ab_counts_as_complete_are_errors_all_the_same(self):
        refused = AB.replace("Failed requests:        0", "Failed requests:        2\nNon-2xx responses:      31")
        self.assertEqual(parse_ab(refused, 10000).errors, ["2 requests failed", "31 answers were not 2xx"])

    def test_requests_that_are_missing_are_errors(self):
        self.assertEqual(parse_ab(AB, 10001).errors, ["1 of 10,001 requests were not completed"])

    def test_giving_up_is_a_failure_with_its_reason(self):
        output = "apr_pollset_poll: The timeout specified has expired (70007)\nTotal of 19 requests completed\n"
        with self.assertRaisesRegex(Failed, "timeout specified has expired.*19"):
            parse_ab(output, 10000)
