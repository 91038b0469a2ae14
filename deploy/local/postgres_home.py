"""The user that PostgreSQL runs as, and its folders.

This user can read the folders of its programs and data.

PostgreSQL refuses to run as root, so as root it is run as another user. If that user cannot enter a parent folder (a
root-only home, for example), its programs and data are put below ``/var/tmp`` instead.
"""

import hashlib
import os
import pwd
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from deploy.local import tether
from deploy.local.errors import LocalStackError

_ELSEWHERE = Path("/var/tmp")  # noqa: S108 - created 0711 and checked to be ours
_CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Home:
    """User and folders of a server.

    ``user`` is None if it runs as the user of this process.
    """

    user: str | None
    programs: Path
    data: Path


def home_for(programs: Path, data: Path) -> Home:
    """Choose user and folders for PostgreSQL, and create the folders.

    Raises:
        LocalStackError: this process is root, and no other user exists or can enter the folders.
    """
    if os.geteuid() != 0:
        _private_folder(data)
        return Home(None, programs, data)
    user = _other_user()
    elsewhere = _ELSEWHERE / f"unitpool-{hashlib.sha256(str(data).encode()).hexdigest()[:12]}"
    if not _can_run(user, programs / "postgres"):
        programs = _copied(programs, elsewhere)
    _private_folder(data.parent, mode=0o711)
    if not _can_run(user, Path("/usr/bin/test"), "-x", str(data.parent)):
        data = elsewhere / "data"
    if elsewhere.exists() and not _can_run(user, programs / "postgres"):
        raise LocalStackError(
            f"PostgreSQL cannot run as root, and user {user} can enter neither this folder nor {elsewhere}. "
            "Run it as an ordinary user, or from a folder that other users may enter."
        )
    _private_folder(data)
    _change_owner(data, user)
    return Home(user, programs, data)


def delete(data: Path) -> None:
    """Delete the data from the folder that ``home_for`` chose."""
    elsewhere = _ELSEWHERE / f"unitpool-{hashlib.sha256(str(data).encode()).hexdigest()[:12]}"
    for folder in (data, elsewhere):
        if folder.exists():
            shutil.rmtree(folder)


def _other_user() -> str:
    for name in _CANDIDATES:
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise LocalStackError("PostgreSQL cannot run as root, and there is no user 'postgres' or 'nobody' to run it as.")


def _can_run(user: str, program: Path, *arguments: str) -> bool:
    arguments = arguments or ("--version",)
    command = [sys.executable, "-I", "-S", tether.__file__, "--user", user, "SIGKILL", "--", str(program), *arguments]
    return subprocess.run(command, capture_output=True, cwd="/", check=False).returncode == 0


def _copied(programs: Path, elsewhere: Path) -> Path:
    """Copy the package's PostgreSQL and the libraries beside it.

    The copy has the package's layout.
    """
    installed, package = programs.parent, programs.parent.parent
    target = elsewhere / package.name / installed.name
    if not target.exists():
        _private_folder(elsewhere, mode=0o711)
        partial = target.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        libraries = package.with_name(f"{package.name}.libs")
        shutil.copytree(libraries, elsewhere / libraries.name, dirs_exist_ok=True)
        shutil.copytree(installed, partial, symlinks=True)
        partial.rename(target)
    return target / programs.name


def _private_folder(folder: Path, mode: int = 0o700) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=mode)
    owner = folder.stat().st_uid
    if folder.parent == _ELSEWHERE and owner != os.geteuid():
        raise LocalStackError(f"{folder} belongs to another user; remove it, or run from another folder.")


def _change_owner(folder: Path, user: str) -> None:
    entry = pwd.getpwnam(user)
    if folder.stat().st_uid == entry.pw_uid:
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
