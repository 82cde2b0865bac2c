"""Texts that are hard for a tokenizer, by what is odd about them."""

from __future__ import annotations

TEXTS = {
    "scripts": "日本語の文章。한국어 텍스트. 中文文本。 ภาษาไทย हिन्दी বাংলা ქართული አማርኛ",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇯 👍🏽 ❤️ 1️⃣ \N{SLIGHTLY SMILING FACE}\N{VARIATION SELECTOR-16}",
    "combining": "e\u0301 a\u0308\u0323\u0302 Z͑ͫ̓ͪ̂ͫ \u0301alone \u200dalone",
    "right to left": "שלום עולם (1) مرحبا بالعالم \u202bRLE\u202c \u2067RLI\u2069 \u200fRLM",
    "controls": "".join(map(chr, range(1, 0x20))) + "\x7f\x80\x9f\u2028\u2029\ufeff\ufffe",
    "spaces": "  two   three\t\ttabs \n\n\n lines \r\n \r \u00a0\u3000\u2009 end  ",
    "unpaired": "( [ { « \u201c ' \" ` ) } \u201d </b <a & &amp <0x0A> ▁x Ġy \\ \\x",
    "planes": "\U00010348 \U0001d518\U0001d52b 𠜎𠜱 \U0010fffd \ue000 \U000e0041",
    "markers": "<s></s><unk><|im_end|><|endoftext|><eos>[INST][/INST]<|eot_id|><end_of_turn><pad>",
}
