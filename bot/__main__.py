"""`python -m bot` is the `rollback` command."""

from bot.main import cli

if __name__ == "__main__":
    cli.main()
