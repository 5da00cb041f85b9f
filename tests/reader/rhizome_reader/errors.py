"""Everything that can be wrong with bytes we are given, one class per kind of reason."""


class ReaderError(Exception):
    """The base of all; str() of it is one line."""


class NotCanonical(ReaderError):
    """Not strict DAG-CBOR."""


class BadShape(ReaderError):
    """DAG-CBOR, but not the value the page asks for."""


class BadSignature(ReaderError):
    """A signature or a public key that strict verification refuses."""


class BadBox(ReaderError):
    """A box or wrap that does not open, or opens to something that is not as padded."""


class Refused(ReaderError):
    """A commit or operation that cannot follow in an identity log."""


class UpdateNeeded(ReaderError):
    """A kind or version that this reader does not know."""


class BadChain(ReaderError):
    """An author log that does not hold together."""


class BadTicket(ReaderError):
    """A ticket's text that is damaged or not canonical."""


class BadFrame(ReaderError):
    """A frame with a wrong length or body."""


class BadCar(ReaderError):
    """A CAR file that is damaged, or not that of an identity log."""


class NoSuchVersion(ReaderError):
    """A version of a DID document that a log does not have."""


class BadPod(ReaderError):
    """A folder whose files contradict each other or the page."""


class BadVector(ReaderError):
    """A vector that does not agree with this reader."""
