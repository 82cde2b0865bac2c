"""Saved states of prompt prefixes, so that later runs need not prefill them again.

`prefixes` finds what prompts share, `key` says which model and build a state belongs to,
`cache` decides what one run restores and saves, `store` keeps the files.
"""
