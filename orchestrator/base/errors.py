"""What is the user's to mend: each message is one line."""


class InputError(Exception):
    """The input or an argument is wrong; the command line prints the message and exits with 2.

    The message is one line for the user: it names the file, row or key at fault and the mend.
    """

    def __init__(self, message: str) -> None:
        # A name that it quotes, from a table for example, may have lines of its own.
        super().__init__(" ".join(message.splitlines()))


class ReadingError(Exception):
    """The place of the images failed, not an image: a disk, a network or a server.

    The message is one line that names the path or URI and the cause.
    """


class StorageError(OSError):
    """The server that holds files did not take, or give, one: the message is one line.

    Attributes
    ----------
    reason
        What happened and how to mend it, without the place.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.place, self.reason = place, reason

    def __reduce__(self) -> tuple[type["StorageError"], tuple[str, str]]:
        return StorageError, (self.place, self.reason)  # Ray sends it from its workers
