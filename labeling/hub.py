"""A written folder to the Hugging Face hub."""

from pathlib import Path


class HubError(Exception):
    """It was not pushed. The message is one sentence for people."""


def push_folder(folder: Path, repo: str, *, kind: str, public: bool = False) -> str:
    """Push a folder as it is; returns where it can be seen. kind: dataset or model.

    The token is the hub library's own (`HF_TOKEN`, or `hf auth login`). A new repository is private unless
    `public`. Raises HubError.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    def failed(why: str) -> HubError:
        return HubError(f"{folder} is written, but it was not pushed to {repo}: {why}.")

    if constants.is_offline_mode():
        raise failed("HF_HUB_OFFLINE is set, so nothing may be sent")
    api = HfApi()
    try:
        url = api.create_repo(repo, repo_type=kind, private=not public, exist_ok=True)
        api.upload_folder(
            folder_path=folder, repo_id=url.repo_id, repo_type=kind, commit_message="Exported by Podium"
        )
    except (LocalTokenNotFoundError, HFValidationError) as error:
        raise failed(_first_line(error)) from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        known = {
            401: "the hub does not know this token; log in with `hf auth login`, or set HF_TOKEN",
            403: "this token may not write there",
            404: "the hub has no such place",
            429: "the hub asks to wait; try again later",
        }
        raise failed(
            known.get(status, f"the hub answered {status or 'nothing'}: {_first_line(error)}")
        ) from error
    except Exception as error:  # whatever the library makes of an answer: one sentence
        if _unreachable(error):
            raise failed(f"{constants.ENDPOINT} could not be reached ({_first_line(error)})") from error
        raise failed(_first_line(error)) from error
    return str(url)


def _unreachable(error: Exception) -> bool:
    """By name: the hub library has changed the client it asks with, and may again."""
    return isinstance(error, OSError) or "TransportError" in {c.__name__ for c in type(error).__mro__}


def _first_line(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return first[:200].rstrip(".")
