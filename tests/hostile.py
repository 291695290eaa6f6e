"""Keys and values that misbehave on purpose."""


class BadKeyError(Exception):
    """What a key raises here; nothing else raises it, so a swallowed one is noticed."""


class Key:
    """A key with a chosen hash: equal names are equal keys, and few hashes make long probe chains."""

    def __init__(self, name, hash_=None):
        self.name = name
        self.hash = hash(name) if hash_ is None else hash_

    def __hash__(self):
        return self.hash

    def __eq__(self, other):
        return self.name == other.name if isinstance(other, Key) else NotImplemented

    def __repr__(self):
        return f"Key({self.name!r}, {self.hash})"


class Unhashable:
    """A key whose __hash__ raises."""

    def __hash__(self):
        raise BadKeyError("hash")


class Incomparable:
    """A key whose __eq__ raises; it collides with every key of the same hash."""

    def __init__(self, hash_):
        self.hash = hash_

    def __hash__(self):
        return self.hash

    def __eq__(self, other):
        raise BadKeyError("eq")


class Meddler:
    """A key that runs `action` while it is compared, from either side; it equals Meddlers of the same name."""

    def __init__(self, name, action=None, hash_=7):
        self.name = name
        self.action = action
        self.hash = hash_

    def __hash__(self):
        return self.hash

    def __eq__(self, other):
        for action in (self.action, getattr(other, "action", None)):
            if action is not None:
                action()
        return isinstance(other, Meddler) and self.name == other.name

    def __repr__(self):
        return f"Meddler({self.name!r})"


class HashMeddler(Meddler):
    """A key that runs `action` while it is hashed."""

    def __hash__(self):
        action = self.action
        if action is not None:
            action()
        return self.hash

    def __eq__(self, other):
        return self is other


class Finalizer:
    """A value that runs `action` when it dies."""

    def __init__(self, action):
        self.action = action

    def __del__(self):
        self.action()
