"""`python -m mistral_cli`."""

from mistral_cli.cli.app import main

main()
