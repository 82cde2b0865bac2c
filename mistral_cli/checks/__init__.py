"""Checks of answers: form, facts and flaws; pure functions over the text and the answer."""
