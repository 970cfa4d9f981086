"""Publishers that are killed at each step, run as `python -m tests.two_tower.releases.killed PARTS RELEASES…`.

The n-th address is published to by a process that is killed (SIGKILL) after it has written n files; for a local folder,
the last one is killed after the rename. Prints how many publishers ended on their own.
"""

import os
import signal
import sys
from pathlib import Path

from s3fs import S3FileSystem

from tests.two_tower import parts
from two_tower.releases.release import publish
from two_tower.storage import local


def kill_after(files: int) -> None:
    """Kill this process when it has written this number of files."""
    left = files

    def counted(write):
        def call(*args, **kwargs):
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            result = write(*args, **kwargs)
            left -= 1
            return result

        return call

    def counted_async(write):
        async def call(*args, **kwargs):
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            result = await write(*args, **kwargs)
            left -= 1
            return result

        return call

    local._copy = counted(local._copy)
    local._sync_folder = counted(local._sync_folder)
    S3FileSystem._put_file = counted_async(S3FileSystem._put_file)
    S3FileSystem._pipe_file = counted_async(S3FileSystem._pipe_file)


def main() -> None:
    made, *addresses = sys.argv[1:]
    ended = 0
    for files, address in enumerate(addresses):
        child = os.fork()  # before this process has any connection
        if child == 0:
            kill_after(files)
            publish(address, [Path(made)], parts.manifest())
            os._exit(0)
        _, status = os.waitpid(child, 0)
        ended += not os.WIFSIGNALED(status)
    print(ended)


if __name__ == "__main__":
    main()
