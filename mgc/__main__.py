"""``python -m mgc`` is the ``mgc`` command."""

from mgc.cli import main

if __name__ == "__main__":
    main()
