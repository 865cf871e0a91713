"""Passwords: hash one, set one, lock the account of root.

hash_password(system, password, "6", 10) -> "$6$<salt>$…"

The hash comes from libcrypt, called through ctypes, because Python has had no crypt module since 3.13; where that
library is missing or does not know the method, `openssl passwd` makes it, with the password on its standard
input. The clear text is never an argument, never in a file, and in no message.

    id   method     salt          note
    1    MD5        up to 8       2a   Blowfish: 22 characters, cost 12; counts the first 72 bytes of the password
    5    SHA-256    up to 16      6    SHA-512: up to 16 characters
    y    yescrypt   libcrypt's choice, only where it offers crypt_gensalt

Passwords are hashed as UTF-8 and may be up to 512 bytes (libcrypt's own limit), over openssl up to 256 in one
line.

Source: provisioning 4.4; crypt(5) for the forms of settings.
"""

from __future__ import annotations

import re
import secrets
import string
from typing import TYPE_CHECKING, Any

from waagent.errors import CommandFailed, UserError
from waagent.machine import users
from waagent.system import System

if TYPE_CHECKING:
    from waagent.distro import DistroProfile

METHODS = {"1": "MD5", "2a": "Blowfish", "5": "SHA-256", "6": "SHA-512", "y": "yescrypt"}
LONGEST_SALT = {"1": 8, "5": 16, "6": 16}
LONGEST_PASSWORD = 512
LONGEST_FOR_OPENSSL = 256
COST = 12  # of Blowfish: 2**12 rounds, about a quarter of a second
LETTERS = string.ascii_letters + string.digits

# glibc and libxcrypt; in musl crypt is part of libc itself (None).
LIBRARIES = ("libcrypt.so.1", "libcrypt.so.2", "libcrypt.so", None)

LOCKED = "root:*LOCK*:14600::::::"


def hash_password(
    system: System, password: str, crypt_id: str = "6", salt_length: int = 10, openssl: str = "openssl"
) -> str:
    """Hash a password for the shadow file. Raises UserError, which never quotes the password."""
    if crypt_id not in METHODS:
        raise UserError(
            f"cannot hash the password: {crypt_id!r} is no crypt id; Provisioning.PasswordCryptId takes "
            f"{', '.join(METHODS)}"
        )
    raw = password.encode("utf-8", "surrogatepass")
    if not raw or b"\0" in raw or len(raw) > LONGEST_PASSWORD:
        raise UserError(
            f"cannot hash the password: it has {len(raw)} bytes; 1 to {LONGEST_PASSWORD} without a zero can be used"
        )
    library = _library()
    setting = _setting(library, crypt_id, salt_length)
    hashed = _crypt(library, raw, setting) if setting else None
    if hashed is None and crypt_id in LONGEST_SALT:
        hashed = _by_openssl(system, password, crypt_id, setting or "", openssl)
    if hashed is None:
        raise UserError(
            f"cannot hash the password with {METHODS[crypt_id]} (id {crypt_id}): neither libcrypt nor {openssl} of "
            "this system can; set Provisioning.PasswordCryptId=6"
        )
    return hashed


def matches(password: str, hashed: str) -> bool:
    """Whether the hash is of this password; false where it cannot be told."""
    library = _library()
    if library is None or not hashed.startswith("$"):
        return False
    again = _crypt(library, password.encode("utf-8", "surrogatepass"), hashed)
    return again is not None and secrets.compare_digest(again, hashed)


def current_hash(system: System, name: str, shadow: str = users.SHADOW) -> str | None:
    """What the shadow file has for the account; None where it has no line."""
    try:
        lines = system.read_text(shadow).splitlines()
    except OSError:
        return None
    for line in lines:
        fields = line.split(":")
        if len(fields) > 1 and fields[0] == name:
            return fields[1]
    return None


def set_password(
    system: System,
    profile: DistroProfile,
    name: str,
    password: str,
    *,
    crypt_id: str = "6",
    salt_length: int = 10,
    openssl: str = "openssl",
) -> None:
    """Give the account this password, by the profile's command. Raises UserError."""
    if not profile.texts("users.password"):
        raise UserError(f"cannot set the password of {name}: this system has no command for it", user=name)
    method = profile.text("users.password-hash") or "crypt"
    words = {"name": name, "hash": "", "password": ""}
    if method == "clear":
        if re.search(r"[\s;{}\[\]\"'\\]", password):
            raise UserError(
                f"cannot set the password of {name}: blanks, quotes and braces cannot be passed on", user=name
            )
        words["password"] = password
    elif method == "encrypt":
        words["hash"] = _by_encrypt(system, password)
    else:
        words["hash"] = hash_password(system, password, crypt_id, salt_length, openssl)
    # Whatever a profile says, the clear text goes in by standard input: argv is journalled and seen by everybody.
    argv = profile.command("users.password", name=name, hash=words["hash"])
    entry = (profile.text("users.password-input") or "").format_map(words)
    if entry and not entry.endswith("\n"):
        entry += "\n"
    try:
        system.run(*argv, stdin=entry)
    except CommandFailed as error:
        raise UserError(
            f"cannot set the password of {name}: {argv[0]} ended with status {error.status}"
            + (f": {error.stderr.strip().splitlines()[-1]}" if error.stderr.strip() else ""),
            user=name,
        ) from None  # the profile of OpenBSD has the hash in argv, which has no place in a traceback


def lock_root(system: System, profile: DistroProfile, shadow: str = users.SHADOW) -> bool:
    """Make sure that nobody can log in as root with a password; false if that was so. Raises UserError."""
    method = profile.text("users.lock-root") or "shadow"
    if method == "none":
        return False
    if method == "shadow":
        return _lock_in_shadow(system, shadow, create=profile.switch("users.create-shadow"))
    root = profile.text("users.root") or "root"
    if (current_hash(system, root, shadow) or "").startswith("*"):
        return False
    command = profile.command("users.lock-root-command")
    if not command:
        raise UserError(f"cannot lock the password of {root}: this system has no command for it", user=root)
    try:
        system.run(*command)
    except CommandFailed as error:
        raise UserError(f"cannot lock the password of {root}: {error}", user=root) from error
    return True


def _lock_in_shadow(system: System, shadow: str, *, create: bool) -> bool:
    """Replace root's line by a locked one that stands first; all in one rename."""
    try:
        lines = system.read_text(shadow).splitlines()
    except FileNotFoundError:
        if not create:
            raise UserError(f"cannot lock the password of root: {shadow} is missing", user="root") from None
        lines = []
    others = [line for line in lines if line.split(":")[0] != "root"]
    if lines and lines[0] == LOCKED and len(others) == len(lines) - 1:
        return False
    content = "".join(f"{line}\n" for line in [LOCKED, *others])
    if not lines:
        return system.write(shadow, content, mode=0o600)
    return system.write(shadow, content)


def _library() -> Any:
    """libcrypt with its functions declared, or None."""
    import ctypes

    for name in LIBRARIES:
        try:
            library = ctypes.CDLL(name, use_errno=True)
            library.crypt.restype = ctypes.c_char_p
            library.crypt.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
        except (OSError, AttributeError):
            continue
        if hasattr(library, "crypt_gensalt"):
            library.crypt_gensalt.restype = ctypes.c_char_p
            library.crypt_gensalt.argtypes = (ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_int)
        return library
    return None


def _setting(library: Any, crypt_id: str, salt_length: int) -> str | None:
    """What crypt is to do, "$6$<salt>"; None where that cannot be said for this method on this system."""
    if crypt_id in LONGEST_SALT:
        length = max(1, min(salt_length, LONGEST_SALT[crypt_id]))
        return f"${crypt_id}$" + "".join(secrets.choice(LETTERS) for _ in range(length))
    if library is not None and hasattr(library, "crypt_gensalt"):
        made = library.crypt_gensalt(
            f"${crypt_id}$".encode(), COST if crypt_id == "2a" else 0, secrets.token_bytes(16), 16
        )
        if made and not made.startswith(b"*"):
            return str(made.decode("ascii"))
    if crypt_id == "2a":
        # 128 bits in 22 characters of 6 bits: the last one carries only two.
        salt = "".join(secrets.choice("./" + LETTERS) for _ in range(21)) + secrets.choice(".Oeu")
        return f"$2a${COST:02d}${salt}"
    return None


def _crypt(library: Any, password: bytes, setting: str) -> str | None:
    """The hash, or None: libcrypt says that it cannot with NULL or a text that begins with "*"."""
    if library is None:
        return None
    made = library.crypt(password, setting.encode("ascii"))
    if not made:
        return None
    hashed = str(made.decode("ascii", "replace"))
    method = setting.split("$")[1] if setting.count("$") >= 2 else ""
    if not hashed.startswith(f"${method}$") or (len(hashed) < len(setting) + 10 and hashed != setting):
        return None
    return hashed


def _by_openssl(system: System, password: str, crypt_id: str, setting: str, openssl: str) -> str | None:
    if system.which(openssl) is None:
        return None
    if "\n" in password or len(password.encode("utf-8", "surrogatepass")) > LONGEST_FOR_OPENSSL:
        raise UserError(
            f"cannot hash the password: without libcrypt it may have {LONGEST_FOR_OPENSSL} bytes in one line"
        )
    salt = setting.split("$")[2]
    argv = (openssl, "passwd", f"-{crypt_id}", "-salt", salt, "-stdin")
    try:
        answer = system.run(*argv, stdin=password.encode("utf-8", "surrogatepass") + b"\n", reads=True)
    except CommandFailed:
        return None
    hashed = answer.stdout.strip()
    return hashed if hashed.startswith(f"${crypt_id}${salt}$") else None


def _by_encrypt(system: System, password: str) -> str:
    """OpenBSD's own program; it reads the password from standard input."""
    try:
        hashed = system.run("encrypt", stdin=f"{password}\n", reads=True).stdout.strip()
    except CommandFailed as error:
        raise UserError(f"cannot hash the password: encrypt ended with status {error.status}") from None
    if not hashed.startswith("$"):
        raise UserError("cannot hash the password: encrypt printed no hash")
    return hashed
