"""The fields of a JSON object in a request, read one by one with their types checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from mistral_cli.serving.http.errors import ApiError, bad_request

if TYPE_CHECKING:
    from mistral_cli.engines.sampling import SamplingSetting

Value = TypeVar("Value", str, int, float, bool, list[Any], dict[str, Any])

_KINDS = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}
_QUOTED = 60  # characters of a value in a message


class Fields:
    """The object at `path` of the request, such as `messages[0]`; "" is the body itself.

    A field that is null counts as missing. Every method raises ApiError.
    """

    def __init__(self, value: object, path: str = "") -> None:
        self._path = path
        if not isinstance(value, dict):
            raise bad_request(f"{path or 'the body'} must be an object", path or None)
        self._values = {name: each for name, each in value.items() if each is not None}

    def path(self, name: str) -> str:
        """Where the field `name` is in the request."""
        return f"{self._path}.{name}" if self._path else name

    def take(self, name: str, kind: type[Value]) -> Value | None:
        """Read a field that is not checked further; None if it is missing."""
        value: Value | None = self._values.pop(name, None)
        if value is None or _is_of(kind, value):
            return value
        raise self._wrong(self.path(name), _KINDS[kind])

    def require(self, name: str, kind: type[Value]) -> Value:
        """Read a field that must be there."""
        value = self.take(name, kind)
        if value is None:
            raise bad_request(f"{self.path(name)} is missing", self.path(name))
        return value

    def integer(self, name: str, low: int, high: int) -> int | None:
        """Read an integer from `low` to `high`; None if it is missing."""
        value = self.take(name, int)
        if value is not None and not low <= value <= high:
            raise self._wrong(self.path(name), f"an integer from {low} to {high}")
        return value

    def setting(self, name: str, setting: SamplingSetting) -> float | None:
        """Read a number that `setting` allows; None if it is missing."""
        value = self.any(name)
        if value is not None and not setting.allows(value):
            raise self._wrong(self.path(name), str(setting))
        return setting.kind(value) if value is not None else None

    def flag(self, name: str) -> bool:
        """Read true or false, which is false if it is missing."""
        return self.take(name, bool) or False

    def any(self, name: str) -> Any:
        """Read a field of any type; None if it is missing."""
        return self._values.pop(name, None)

    def ignore(self, **kinds: type) -> None:
        """Read fields that have no effect on an answer."""
        for name, kind in kinds.items():
            self.take(name, kind)

    def only(self, **neutral: tuple[object, ...]) -> None:
        """Read fields of which only the values are supported that ask for nothing special."""
        for name, values in neutral.items():
            value = self._values.pop(name, None)
            if value is not None and (type(value), value) not in [(type(v), v) for v in values]:
                raise self._unsupported(name, f" with the value {quoted(value)}")

    def refuse_rest(self) -> None:
        """Refuse all fields that were not read."""
        for name in self._values:
            raise self._unsupported(name)

    def _unsupported(self, name: str, value: str = "") -> ApiError:
        name = self.path(name)
        return bad_request(f"{shortened(name)} is not supported{value}", shortened(name))

    def _wrong(self, path: str, wanted: str) -> ApiError:
        return bad_request(f"{path} must be {wanted}", path)


def _is_of(kind: type, value: object) -> bool:
    if isinstance(value, bool):  # an int in Python
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def quoted(value: object) -> str:
    """A value for a message, shortened."""
    return shortened(repr(value))


def shortened(text: str) -> str:
    """The beginning of a text."""
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}…"
