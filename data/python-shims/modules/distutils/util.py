"""strtobool(text): 1 or 0."""


def strtobool(val):
    low = val.lower()
    if low in ("y", "yes", "t", "true", "on", "1"):
        return 1
    if low in ("n", "no", "f", "false", "off", "0"):
        return 0
    raise ValueError("invalid truth value %r" % (val,))
