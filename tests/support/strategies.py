"""Hypothesis strategies that several tests share: texts and JSON values."""

from __future__ import annotations

from hypothesis import strategies as st

TEXTS = st.text(max_size=60) | st.text(
    alphabet='aAé\u0301 \n\t\u00a0"\\/1,.-\x00\x1f日本ไท่हि\u200d👩x', max_size=40
)
"""Texts with the characters that are difficult to ground."""

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)  # fmt: skip
"""JSON values of every type, nested."""
