"""Errors of the HTTP API, in the shape that OpenAI's clients expect."""

from __future__ import annotations

from typing import Any

from mistral_cli.errors import (
    ContextExceeded,
    MistralCliError,
    ModelUnusable,
    OutputInvalid,
    UsageError,
)

_INVALID, _SERVER = "invalid_request_error", "server_error"


class ApiError(Exception):
    """A reply with `status` in place of an answer.

    `param` names the field at fault, `code` is for programs. The fields are described at
    https://platform.openai.com/docs/guides/error-codes.
    """

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    def body(self) -> dict[str, Any]:
        """The JSON object that reports the error."""
        return {
            "error": {
                "message": self.message,
                "type": _SERVER if self.status >= 500 else _INVALID,
                "param": self.param,
                "code": self.code,
            }
        }

    def headers(self) -> dict[str, str]:
        """The headers of the reply."""
        if self.status == 401:
            return {"WWW-Authenticate": "Bearer"}
        # OpenAI's clients repeat a call that failed with 500, which would take as long again.
        return {"x-should-retry": "false"} if self.status == 500 else {}


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """The error for a request that cannot be answered as it is."""
    return ApiError(400, message, param=param, code=code)


def as_api_error(error: ApiError | MistralCliError) -> ApiError:
    """One of our errors as a reply: 400 if another request could help, otherwise 500."""
    match error:
        case ApiError():
            return error
        case ContextExceeded():
            return bad_request(error.message, code="context_length_exceeded")
        case UsageError() | ModelUnusable():
            return bad_request(error.message)
        case OutputInvalid():
            return ApiError(500, error.message, code="output_invalid")
        case _:
            return ApiError(500, error.message, code="engine_failed")
