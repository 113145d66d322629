"""What can go wrong while a service stands up or talks to Kafka, each told in one sentence."""

from __future__ import annotations

from stepwire.flow.errors import StepwireError


class ChassisError(StepwireError):
    """A service process cannot do what it was started for."""


class SettingsError(ChassisError):
    """A setting is missing or has a value that cannot be used."""


class PortTaken(ChassisError):  # noqa: N818  # the name says what happened, as the operator would
    """The address a service shall listen on is in use."""

    def __init__(self, service: str, host: str, port: int, setting: str) -> None:
        super().__init__(
            f"{service} cannot listen on {host}:{port} because the port is taken; "
            f"choose another with {setting} (0 takes a free one)."
        )
        self.host = host
        self.port = port


class Unreachable(ChassisError):  # noqa: N818  # the state of the other side, not of this program
    """The database or Kafka does not answer at its address."""

    def __init__(self, what: str, address: str, cause: BaseException | str) -> None:
        super().__init__(f"cannot reach {what} at {address}: {cause}")
        self.what = what
        self.address = address


class KafkaUnavailable(ChassisError):  # noqa: N818  # the state of Kafka
    """Kafka did not acknowledge within the deadline: the records may or may not be there, so send them again."""


class RecordTooLarge(ChassisError):  # noqa: N818  # said of the record
    """A record is over the size its topic takes; nothing of it was sent."""


class TopicRefused(ChassisError):  # noqa: N818  # said by Kafka
    """The topic does not exist, has an illegal name, or may not be written by us."""
