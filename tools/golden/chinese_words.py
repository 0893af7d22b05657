"""jieba's dictionary and model as algo/predict/jieba/dictionary.go reads them, and words cut by jieba.

    pip install jieba==0.42.1 zstandard
    python3 tools/golden/chinese_words.py algo/predict/jieba    # rewrites dictionary and testdata/cut.jsonl

Every number is an unsigned varint, and columns follow each other, which is what makes them small.
"""
import json
import math
import os
import random
import sys

import jieba
import jieba.finalseg as model
import zstandard

FOLDER = os.path.dirname(jieba.__file__)


class Numbers:
    def __init__(self):
        self.raw = bytearray()

    def put(self, *values):
        for v in values:
            while v >= 128:
                self.raw.append(v & 127 | 128)
                v >>= 7
            self.raw.append(v)


def gaps(values):
    """Of ascending numbers: the first, then how many lie between neighbours."""
    return [b - a - 1 for a, b in zip([-1] + values, values)]


def dictionary():
    words, total = {}, 0
    with open(os.path.join(FOLDER, "dict.txt"), encoding="utf-8") as f:
        for line in f:
            word, frequency = line.strip().split(" ")[:2]
            words[word] = int(frequency)
            total += int(frequency)  # one word is listed twice: jieba counts both
    return words, total


def pack():
    words, total = dictionary()
    letters = sorted({c for w in words for c in w})
    at = {c: i for i, c in enumerate(letters)}
    out = Numbers()
    out.put(len(letters), *gaps([ord(c) for c in letters]))
    out.put(total, len(words))
    lengths, first, rest, before = [], [], [], ""
    for w in sorted(words):
        n = len(os.path.commonprefix([before, w]))
        assert len(w) - n < 16
        lengths.append(16 * n + len(w) - n)
        first.append(at[w[n]] - (at[before[n]] + 1 if n < len(before) else 0))  # words ascend, and so do these
        rest += [at[c] for c in w[n + 1:]]
        before = w
    for column in (lengths, first, rest, [words[w] for w in sorted(words)]):
        out.put(*column)
    for state in "BEMS":  # the rarest characters were counted once
        p = model.emit_P[state]
        counted = round(1 / math.exp(min(p.values())))
        counts = {c: round(math.exp(v) * counted) for c, v in p.items()}
        assert max(abs(math.log(counts[c] / counted) - v) for c, v in p.items()) < 1e-13
        runes = sorted(p)
        out.put(counted, len(runes), *gaps([ord(c) for c in runes]))
        out.put(*[counts[c] for c in runes])
    return zstandard.ZstdCompressor(level=22).compress(bytes(out.raw))


def texts():
    """Random texts of words, of rare and unlisted characters, and of what else jieba has rules for."""
    rng = random.Random(13)
    words = sorted(dictionary()[0])
    others = [" ", "  ", "\n", "\r\n", "，", "。", "！", "A", "AT&T", "c++", "3.14", "50%", "v1.2.3", "x-y_z", "㐀", "𠀀", "é", "\u3000", "龥", "鿕", "鿖", "1号店", "的", "一"]
    for _ in range(300):
        parts = []
        for _ in range(rng.randint(1, 12)):
            kind = rng.random()
            if kind < 0.5:
                parts.append(rng.choice(words))
            elif kind < 0.75:
                parts.append("".join(chr(rng.randint(0x4E00, 0x9FA5)) for _ in range(rng.randint(1, 4))))
            else:
                parts.append(rng.choice(others))
        yield "".join(parts)


if __name__ == "__main__":
    out = sys.argv[1]
    os.makedirs(os.path.join(out, "testdata"), exist_ok=True)
    with open(os.path.join(out, "dictionary"), "wb") as f:
        f.write(pack())
    with open(os.path.join(out, "testdata", "cut.jsonl"), "w", encoding="utf-8") as f:
        for text in texts():
            f.write(json.dumps(list(jieba.cut(text)), ensure_ascii=False) + "\n")
