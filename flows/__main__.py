"""`python -m flows` is `callscribe`."""

from flows.cli import main

main()
