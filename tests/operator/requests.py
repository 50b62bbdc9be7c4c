"""Any request to an API server, for tests that look at it from outside: by path, as the API has it."""

from typing import Any

import aiohttp
from kubernetes.aio.dynamic.exceptions import DynamicApiError

from s3d_operator.kube import ApiError, Kube


async def request(
    kube: Kube, method: str, path: str, body: Any = None, *, kind: str = "", seconds: float = 10
) -> dict[str, Any]:
    """Make one request and answer its JSON; a list as body of a PATCH is a JSON Patch, an object a merge patch.

    Raises ApiError with the server's answer.
    """
    patch = "json" if isinstance(body, list) else "merge"
    content_type = kind or (f"application/{patch}-patch+json" if method == "PATCH" else "application/json")
    timeout = aiohttp.ClientTimeout(total=seconds)
    try:
        response = await kube.client.request(
            method, path, body=body, content_type=content_type, serialize=False, _request_timeout=timeout
        )
    except DynamicApiError as error:
        raise ApiError(error.status, error.summary()) from None
    answer: dict[str, Any] = await response.json(content_type=None)
    return answer
