"""Checks of text answers: which apply, one more request, and what the user learns of the rest."""
