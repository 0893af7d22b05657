"""Reference values for data/pyjson and algo/report, from the Python standard library alone.

    python3 tools/golden/report.py    # rewrites testdata/python.json of both

Floats travel as their IEEE bits (16 hexadecimal digits), so that nothing but the code under test reads decimals.
"""
import json
import os
import random
import struct
from datetime import timedelta


def bits(x):
    return struct.pack(">d", x).hex()


FLOATS = [0.0, -0.0, 1.0, -1.0, 0.1, 1e-4, 9.999e-5, 1e-5, 5e-5, 1e-05 / 3, 1e15, 9999999999999998.0, 1e16, 1.5e16, -1e16, 1e17, 123456789012345680.0, 1e22, 1e23, 5e-324, -5e-324,
          2.2250738585072014e-308, 2.225073858507201e-308, 1.7976931348623157e308, float("inf"), float("-inf"), float("nan"), 0.30000000000000004, 2 / 3, 1e-7, 49593778176.0, 2.669154167175293,
          0.00034549150281252633, 2.4471741852423235e-05, 100.0, 1e100, 1.7e-100]
ROUNDS = [(2.675, 2), (2.665, 2), (1.005, 2), (0.5, 0), (1.5, 0), (2.5, 0), (-0.5, 0), (0.125, 2), (0.375, 2), (-0.125, 2), (5e-5, 4), (0.00015, 4), (7.80405, 4), (1e16 + 2, 2), (1e300, 4), (5e-324, 4),
          (-1e-9, 4), (1234567.8905, 3), (2.5e-4, 4), (33.333333333, 2), (0.045, 2)]
STRINGS = ["", "plain", 'q"\\/', "\n\r\t\b\f", "\x00\x1f\x7f", "é ü", "数据 data", "😀", "\u2028\u2029", "<a>&'"]
DOCUMENTS = [{}, [], [{}], {"a": []}, {"b": 1, "a": [1, 2.0, None, True, False, "x"], "c": {"d": {"e": [[], [1]]}}}, [1.0, float("nan"), float("-inf")], {"日": "本😀", "z": [{"k": 1e-05}, {"k": 1e16}]}]
REPRS = ['null', 'true', '-0', '1.0', '1e400', '-1e400', 'NaN', '123456789012345678901', '"it\'s"', '"\\""', '"it\'s \\"both\\""', '"\\u0001\\u007f\\u00a0\\u00e9\\ud83d\\ude00\\u200b\\\\\\n\\t"', '"\\ue000\\udbff\\udfff"', '[]', '{}',
         '{"a": [1, 1.5e-7, null, true], "b": {"a": 1, "b": 2, "a": 3}}']
SECONDS = [0, 1, 59, 60, 3599, 3600, 86399, 86400, 90061, 172800, 864000, 31536000, -1, -90061]
SHARES = [(1, 3), (2, 3), (1, 8), (1, 12), (7, 12), (57, 400), (29, 200), (23, 160), (33, 16000), (115, 800), (1001, 8000), (20, 20), (0, 20), (4503, 100000)]

if __name__ == "__main__":
    rng = random.Random(7)
    for _ in range(60):
        FLOATS.append(struct.unpack(">d", rng.getrandbits(64).to_bytes(8, "big"))[0])
        FLOATS.append(rng.uniform(-1, 1) * 10 ** rng.randint(-8, 20))
    for _ in range(60):
        d = rng.randint(0, 6)
        ROUNDS.append((rng.randint(-2000, 2000) / 2 ** rng.randint(0, 9) / 10 ** rng.randint(0, 3), d))
        SHARES.append((rng.randint(0, 500), rng.choice([500, 640, 800, 1600, 32000])))
    json_text = {
        "floats": [[bits(x), json.dumps(x)] for x in FLOATS],
        "strings": [[s, json.dumps(s, ensure_ascii=False), json.dumps(s)] for s in STRINGS],
        "documents": [{"indent": i, "sorted": k, "ascii": a, "text": json.dumps(v, indent=i or None, sort_keys=k, ensure_ascii=a)}
                      for v in DOCUMENTS for i in (0, 2, 4) for k in (False, True) for a in (False, True)],
        "reprs": [[t, repr(json.loads(t))] for t in REPRS],
    }
    report = {
        "rounds": [[bits(x), d, bits(round(x, d))] for x, d in ROUNDS],
        "clocks": [[s, str(timedelta(seconds=s))] for s in SECONDS],
        "shares": [[a, b, json.dumps(round(a / b * 100, 2))] for a, b in SHARES],
    }
    top = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    for folder, out in (("data/pyjson", json_text), ("algo/report", report)):
        with open(os.path.join(top, folder, "testdata", "python.json"), "w", encoding="utf-8") as f:
            f.write("{\n" + ",\n".join(json.dumps(k) + ": [\n" + ",\n".join(json.dumps(x) for x in v) + "\n]" for k, v in out.items()) + "\n}\n")
