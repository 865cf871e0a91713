"""Stand-in for crypt, which Python dropped in 3.13: passwords hashed by the machine's libcrypt.

crypt(word, salt), mksalt(method), methods, METHOD_SHA512, METHOD_SHA256, METHOD_MD5, METHOD_CRYPT.
"""

import ctypes
import ctypes.util
import random
import string

_LETTERS = string.ascii_letters + string.digits + "./"


class _Method(object):
    def __init__(self, name, ident, salt_chars, total_size):
        self.name, self.ident, self.salt_chars, self.total_size = name, ident, salt_chars, total_size

    def __repr__(self):
        return "<crypt.METHOD_%s>" % self.name


METHOD_SHA512 = _Method("SHA512", "6", 16, 106)
METHOD_SHA256 = _Method("SHA256", "5", 16, 63)
METHOD_MD5 = _Method("MD5", "1", 8, 34)
METHOD_CRYPT = _Method("CRYPT", "", 2, 13)
methods = [METHOD_SHA512, METHOD_SHA256, METHOD_MD5, METHOD_CRYPT]


def mksalt(method=None, rounds=None):
    method = method or METHOD_SHA512
    chance = random.SystemRandom()
    salt = "".join(chance.choice(_LETTERS) for _ in range(method.salt_chars))
    if not method.ident:
        return salt
    return "$%s$%s%s" % (method.ident, "rounds=%d$" % rounds if rounds else "", salt)


def crypt(word, salt=None):
    if salt is None or isinstance(salt, _Method):
        salt = mksalt(salt)
    name = ctypes.util.find_library("crypt") or "libcrypt.so.1"
    function = ctypes.CDLL(name).crypt
    function.restype, function.argtypes = ctypes.c_char_p, (ctypes.c_char_p, ctypes.c_char_p)
    hashed = function(word.encode("utf-8"), salt.encode("ascii"))
    if not hashed or hashed.startswith(b"*"):
        raise OSError("libcrypt does not know the method of this salt")
    return hashed.decode("ascii")
