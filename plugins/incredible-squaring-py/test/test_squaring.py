"""The plugin's answers and refusals, in this Python: no host, no WebAssembly."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))

from keccak import keccak256
from squaring import InvalidTask, Rejected, answer, check, encode

TWELVE = encode(12)


class Squaring(unittest.TestCase):
    def test_keccak256_has_its_known_values_also_where_padding_fills_a_block(self):
        for length, digest in [
            (0, "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
            (64, "002030bde3d4cf89919649775cd71875c4d0ab1708a380e03fefc3a28aa24831"),
            (135, "cbdfd9dee5faad3818d6b06f95a219fd290b0e1706f6a82e5a595b9ce9faca62"),
            (136, "7ce759f1ab7f9ce437719970c26b0a66ff11fe3e38e17df89cf5d29c7d7f807e"),
            (272, "8e2476e65823b24d96ebe239f2c1534cdf763e689e2410c3b1cb0c74e6177bfc"),
        ]:
            self.assertEqual(keccak256(bytes(i % 251 for i in range(length))).hex(), digest, length)

    def test_the_answer_is_the_exact_square_under_the_tasks_own_number(self):
        for number in [0, 12, 2**128 - 1]:
            self.assertEqual(answer(4, encode(number)), encode(4, number * number))

    def test_a_square_beyond_uint256_is_an_invalid_task_never_a_wrapped_number(self):
        for number in [2**128, 2**256 - 1]:
            with self.assertRaisesRegex(InvalidTask, f"^the square of {number} exceeds uint256$"):
                answer(4, encode(number))

    def test_a_request_that_is_none_is_an_invalid_task(self):
        for request in [b"", bytes(31)]:
            with self.assertRaises(InvalidTask):
                answer(4, request)

    def test_what_is_to_be_signed_is_what_the_aggregator_counts(self):
        payload = answer(4, TWELVE)
        self.assertEqual(check(4, TWELVE, payload, b""), keccak256(payload))

    def test_a_response_that_cannot_be_right_is_rejected_with_a_code(self):
        for payload, extension, code in [
            (encode(5, 144), b"", "wrong-task"),
            (encode(4), b"", "malformed"),
            (encode(2**32, 144), b"", "malformed"),
            (encode(4, 144, 0), b"", "non-canonical"),
            (encode(4, 144), b"\1", "malformed-extension"),
        ]:
            with self.assertRaises(Rejected) as caught:
                check(4, TWELVE, payload, extension)
            self.assertEqual(caught.exception.code, code)


if __name__ == "__main__":
    unittest.main()
