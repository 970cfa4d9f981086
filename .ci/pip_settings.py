"""Copy this machine's pip settings into a root file system: `pip_settings.py ROOT` writes ROOT/etc/pip.conf.

Folders of wheels (find-links) and files of constraints go along, at their own paths. Indexes that are folders (file://)
stay behind: they can be mirrors of any size, and pip continues with the next index.
"""

import ast
import shutil
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
INDEXES = ("index-url", "extra-index-url")


def main(root: Path) -> None:
    listed = subprocess.run(["python3", "-m", "pip", "config", "list"], check=True, capture_output=True, text=True)
    settings = {}
    for line in listed.stdout.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in ("global", "install", ":env:"):
            settings[key] = ast.literal_eval(value)
    if "cert" in settings:
        settings["cert"] = CERTIFICATES
    for key in INDEXES:
        if key in settings:
            settings[key] = " ".join(url for url in settings[key].split() if not url.startswith("file:"))
    for place in settings.get("find-links", "").split():
        folder = Path(place.removeprefix("file://"))
        if folder.is_dir():
            shutil.copytree(folder, root / folder.relative_to("/"), dirs_exist_ok=True)
    for place in settings.get("constraint", "").split():
        target = root / Path(place).relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(place, target)
    parser = RawConfigParser()
    parser["global"] = {key: value for key, value in settings.items() if value}
    with (root / "etc" / "pip.conf").open("w") as file:
        parser.write(file)


main(Path(sys.argv[1]))
