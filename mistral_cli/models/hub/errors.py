"""Explains huggingface_hub's exceptions to the user, each with a next step."""

from __future__ import annotations

import errno

from mistral_cli.errors import (
    MistralCliError,
    ModelNotAvailable,
    UsageError,
    first_line,
)

# Message and hint by class name, looked up along the exception's bases, the nearest first. Names
# rather than classes: the HTTP library is httpx or httpx2, depending on huggingface_hub's version,
# and this table must not import either. A number is the HTTP status of an answer that has no
# exception class of its own.
EXPLANATIONS: dict[str, tuple[str, str]] = {
    "GatedRepoError": (
        "{repo} is gated: you must accept its terms first",
        "Accept them at {endpoint}/{repo}, then set HF_TOKEN to a token of that account.",
    ),
    "RepositoryNotFoundError": (
        "the hub has no repository {repo}, or it is private",
        "Check the name at {endpoint}; for a private repository set HF_TOKEN.",
    ),
    "DisabledRepoError": (
        "the hub has disabled the repository {repo}",
        "Choose another repository: you can search at {endpoint}.",
    ),
    "RevisionNotFoundError": (
        "{repo} has no revision {revision}",
        "{endpoint}/{repo}/tree/main lists its branches and tags; the default is main.",
    ),
    "RemoteEntryNotFoundError": (
        "{repo} has no file {file}",
        "{endpoint}/{repo}/tree/main lists its files.",
    ),
    "LocalEntryNotFoundError": (
        "{what} is not on this machine and the hub cannot be reached",
        "Check the network connection and HF_ENDPOINT, then run the same command again.",
    ),
    "OfflineModeIsEnabled": (
        "{what} is not on this machine, and the network is disabled (--offline, HF_HUB_OFFLINE)",
        "Allow the network once. `mistral-cli models list -q` prints the models on this machine.",
    ),
    "FileMetadataError": (
        "{endpoint} does not answer like a model hub",
        "Check HF_ENDPOINT, and whether a proxy or a login page answers instead.",
    ),
    "JSONDecodeError": (
        "{endpoint} does not answer like a model hub",
        "Check HF_ENDPOINT, and whether a proxy or a login page answers instead.",
    ),
    "LocalTokenNotFoundError": (
        "{repo} needs a token and there is none on this machine",
        "Set HF_TOKEN, or log in with `hf auth login`.",
    ),
    "OIDCError": (
        "the hub's keyless login failed: {reason}",
        "Unset HF_OIDC_RESOURCE, or set HF_TOKEN.",
    ),
    "DeviceCodeError": (
        "the login to the hub has expired: {reason}",
        "Log in again with `hf auth login`, or set HF_TOKEN.",
    ),
    "401": (
        "the hub refused the token",
        "Set HF_TOKEN to a valid token, or unset it (`hf auth logout`): public models need none.",
    ),
    "403": (
        "the hub forbids access to {what}",
        "Check that the token in HF_TOKEN may read this repository.",
    ),
    "429": (
        "this machine has reached the hub's rate limit",
        "Wait a few minutes; with HF_TOKEN set the limit is higher.",
    ),
    "HfHubHTTPError": (
        "the hub answered HTTP {status} for {what}",
        "If it is 500 or above, try again later. Status of the hub: https://status.huggingface.co",
    ),
    "ProxyError": (
        "cannot reach {endpoint} through the proxy: {reason}",
        "Check HTTPS_PROXY and NO_PROXY.",
    ),
    "TimeoutException": (
        "{endpoint} did not answer in time",
        "Run the same command again; HF_HUB_DOWNLOAD_TIMEOUT=60 waits longer.",
    ),
    "TooManyRedirects": (
        "{endpoint} redirects in a circle",
        "Check HF_ENDPOINT and the proxy; if they are right, try again later.",
    ),
    "ReadError": (
        "the connection to {endpoint} was lost: {reason}",
        "Check the network connection and the proxy, then run the same command again.",
    ),
    "RemoteProtocolError": (
        "the connection to {endpoint} was lost: {reason}",
        "Check the network connection and the proxy, then run the same command again.",
    ),
    "HTTPError": (
        "cannot reach {endpoint}: {reason}",
        "Check the network connection, the proxy and HF_ENDPOINT, then run it again.",
    ),
    # The token is the only header that comes from the user; `reason` would show it.
    "LocalProtocolError": (
        "the token for the hub has characters that a token cannot have",
        "Set HF_TOKEN to the token alone, or unset it (`hf auth logout`).",
    ),
    "UnicodeEncodeError": (
        "the token for the hub has characters that a token cannot have",
        "Set HF_TOKEN to the token alone, or unset it (`hf auth logout`).",
    ),
    "XetDownloadError": (
        "downloading {what} failed: {reason}",
        "Run the same command again; HF_HUB_DISABLE_XET=1 downloads over plain HTTP.",
    ),
    "CorruptedCacheException": (
        "the hub cache is damaged: {reason}",
        "Move the damaged folder out of the cache; `hf cache ls` lists the cache.",
    ),
    "HFValidationError": (
        "{repo!r} is not a repository name: {reason}",
        "Write owner/repo/file.gguf, or owner/repo[:QUANT].",
    ),
    "ENOSPC": (
        "no space left on the disk for {what}",
        "Free some space, or set HF_HOME to a folder on a larger disk.",
    ),
    "EFBIG": (
        "{what} is too large for a file in the hub cache",
        "Set HF_HOME to a folder on another file system (FAT allows 4 GB), or check `ulimit -f`.",
    ),
    "PermissionError": (
        "no access to the hub cache: {reason}",
        "Change the permissions of that folder, or set HF_HOME to a folder that you own.",
    ),
    "OSError": (
        "the hub cache cannot be used: {reason}",
        "Check the disk and the folder in HF_HOME.",
    ),
    "Exception": (
        "downloading {what} failed: {reason}",
        "Run the same command again; if it fails again, check HF_ENDPOINT and the proxy.",
    ),
}

_TOKEN_FILE = (
    "the file with the hub's token cannot be read: {reason}",
    "Make it readable, or set HF_TOKEN, which takes precedence.",
)

# A web page in place of the file is transient too: it may be a proxy's or a login page.
_TRANSIENT = {"TimeoutException", "NetworkError", "RemoteProtocolError", "FileMetadataError"}
_FULL_DISK = {errno.ENOSPC, errno.EDQUOT}


def explain(
    error: Exception,
    *,
    repo: str,
    file: str,
    revision: str | None,
    endpoint: str,
    token_file: str,
) -> MistralCliError:
    """Return our error for an exception of huggingface_hub or of a library below it.

    Takes the requested repository, file (or "") and revision, the hub's address, and the path of
    the library's token file. The caller raises the result `from` the exception.
    """
    cause = error.__cause__
    if type(error).__name__ == "LocalEntryNotFoundError" and isinstance(cause, Exception):
        # "Not in the cache, and the hub failed": the user can act on the cause.
        error = cause
    message, hint = EXPLANATIONS[explanation_key(error)]
    if isinstance(error, OSError) and error.filename == token_file:
        message, hint = _TOKEN_FILE
    status = getattr(getattr(error, "response", None), "status_code", None)
    fields = {
        "repo": repo,
        "file": file,
        "what": f"{repo}/{file}" if file else repo,
        "revision": revision or "main",
        "endpoint": endpoint,
        "status": status,
        "reason": first_line(error),
    }
    wrong_call = explanation_key(error) == "HFValidationError"
    error_type = UsageError if wrong_call else ModelNotAvailable
    return error_type(message.format(**fields), hint=hint.format(**fields))


def explanation_key(error: Exception) -> str:
    """Return the key of `EXPLANATIONS` for an exception; every exception has one."""
    names = [base.__name__ for base in type(error).__mro__]
    status = str(getattr(getattr(error, "response", None), "status_code", ""))
    if names[0] == "HfHubHTTPError" and status in EXPLANATIONS:
        return status
    if isinstance(error, OSError):
        if error.errno in _FULL_DISK:
            return "ENOSPC"
        if error.errno == errno.EFBIG:
            return "EFBIG"
        if names[0] == "OSError" and error.errno is None:
            # Raised by huggingface_hub itself, such as for a download of the wrong length.
            return "Exception"
    return next(name for name in names if name in EXPLANATIONS)


def is_transient(error: Exception) -> bool:
    """Return True if a retry may help: the connection was lost, or was too slow."""
    return any(base.__name__ in _TRANSIENT for base in type(error).__mro__)
