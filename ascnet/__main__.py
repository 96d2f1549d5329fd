"""The command `ascnet`, also as `python -m ascnet`."""

import signal


def main() -> None:
    """Run the command. While its modules load, Ctrl-C ends it without a word, where Python would
    print a traceback; `ascnet.cli` listens again."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from ascnet import cli

    cli.main()


if __name__ == "__main__":
    main()
