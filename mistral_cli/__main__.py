"""The entry of the program: it takes over the stop signals, then imports the rest."""

# A part of the interpreter, while the module `signal` takes milliseconds to import: meanwhile
# Ctrl-C would print a traceback.
import _signal  # type: ignore[import-not-found]
import os


def main() -> None:
    """Run the program and end the process."""
    for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP):
        if _signal.getsignal(number) != _signal.SIG_IGN:  # as nohup sets it
            _signal.signal(number, _end_at_once)
    from mistral_cli.cli.app import main as run_program

    run_program()


def _end_at_once(number: int, _: object) -> None:
    """End the process: during the imports there is nothing to clean up."""
    os._exit(128 + number)


if __name__ == "__main__":
    main()
