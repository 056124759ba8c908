# ruff: noqa: RUF001
"""A seeded corpus for comparing tokenizers: languages, emoji, code, control characters, whitespace, special tokens."""

from __future__ import annotations

import random

WORDS = [
    "The",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "the",
    "lazy",
    "dog's",
    "back;",
    "it's",
    "12,345.67",
    "today.",
    "Größe",
    "naïve",
    "café",
    "Straße",
    "Ünïcödé",
    "señor",
    "λόγος",
    "και",
    "φύσις",
    "Привет",
    "мир",
    "здравствуйте",
    "你好",
    "世界",
    "こんにちは",
    "世界",
    "안녕하세요",
    "세계",
    "नमस्ते",
    "दुनिया",
    "สวัสดี",
    "مرحبا",
    "بالعالم",
    "שלום",
    "עולם",
    "xin",
    "chào",
    "thế",
    "giới",
    "ąęłż",
    "İstanbul",
    "ﬁne",
    "ｆｕｌｌ",
    "①",
    "é",
    "ö",
    "Å",
    "don't",
    "WE'LL",
    "I'm",
    "1st",
    "2024-01-02",
    "3.14e-10",
    "0xFF",
]
PIECES = [
    *("😀", "😃", "👩‍👩‍👧", "🇫🇷", "👍🏽", "\U0001f9ff", "\u2603", "\U0001d538", "\u0e01", "\u200b", "\ufeff", "\u00a0"),
    *(
        "def f(x):\n    return x ** 2",
        "for (int i=0;i<10;++i) {",
        "</div>",
        "{{ x }}",
        "a_b",
        "#include <a>",
        "=>",
        "\\n",
    ),
    *("\t", "\n", "\n\n", "\r\n", "  ", "    ", "\n   \n", " \t ", "\x00", "\x07", "\x1b[0m", "\x7f", "\x85", "\u2028"),
    *("▁", "Ġ", "<0x41>", "<unk>", "...", "--", "!!!", "http://a.b/c?d=e", "$", "%", "''", "a" * 30),
]


def corpus(count: int, special: tuple[str, ...] = (), seed: int = 0) -> list[str]:
    """Lines of text, the same for a seed; some hold texts of special tokens."""
    chance = random.Random(seed)
    lines = ["", " ", "  ", "\n", *special, *WORDS, *PIECES]
    while len(lines) < count:
        parts = []
        for _ in range(chance.randint(1, 12)):
            kind = chance.random()
            if kind < 0.6:
                parts.append(chance.choice(WORDS))
            elif kind < 0.85:
                parts.append(chance.choice(PIECES))
            elif kind < 0.92 and special:
                parts.append(chance.choice(special))
            else:
                parts.append(chr(chance.choice((chance.randint(1, 0x2FF), chance.randint(0x3040, 0x9FFF)))))
        lines.append(chance.choice((" ", " ", "")).join(parts))
    return lines[:count]
