"""`python -m mechscope`."""

from mechscope.cli.app import main

if __name__ == "__main__":
    main()
