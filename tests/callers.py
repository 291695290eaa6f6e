"""Calls made in threads of their own, whose ends are waited for no longer than a while."""

import threading

PATIENCE = 30  # seconds until a hanging test fails; nothing is measured by it


class Caller(threading.Thread):
    """A thread that keeps the result or the error of one call."""

    def __init__(self, function, *args):
        super().__init__(daemon=True)
        self.function, self.args = function, args
        self.result = self.error = None
        self.start()

    def run(self):
        try:
            self.result = self.function(*self.args)
        except BaseException as error:
            self.error = error

    def finish(self):
        self.join(PATIENCE)
        assert not self.is_alive(), "the call hangs"
        return self
