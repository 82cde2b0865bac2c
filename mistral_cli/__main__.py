"""`python -m mistral_cli`."""

from .cli import main

main()
