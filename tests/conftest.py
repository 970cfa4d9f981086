"""With this file, pytest puts the root on the path, and tests of every room can import `tests.raw`."""
