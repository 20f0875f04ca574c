"""The Kubernetes API over HTTPS: where it is, who we are, requests. What it answers stays bytes."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import msgspec
from lightkube.config.client_adapter import user_auth, verify_cluster
from lightkube.config.kubeconfig import SERVICE_ACCOUNT, KubeConfig, SingleConfig
from lightkube.config.models import Cluster, User
from lightkube.core.exceptions import ConfigError

import weft

REQUEST_SECONDS = 15.0
"""Without a byte of the answer: the server counts as out of reach."""
CONNECT_SECONDS = 5.0
SERVICE_ACCOUNT_DIR = Path(SERVICE_ACCOUNT)
MERGE_PATCH = "application/merge-patch+json"
_SOCKET_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),
)
"""A peer that is gone without a word is noticed by the kernel in 30 s."""


class ApiError(RuntimeError):
    """The API server refused a request: its own words."""

    def __init__(self, code: int, reason: str, message: str, retry_after: float = 0) -> None:
        super().__init__(message or reason or f"HTTP status {code}")
        self.code, self.reason, self.retry_after = code, reason, retry_after

    @property
    def expired(self) -> bool:
        """The resourceVersion or continue token asked for is too old: list again."""
        return self.code == 410 or self.reason in {"Expired", "Gone"}


class UnreachableError(ApiError):
    """No answer, or one that says that the API server is not up: names the server and the cause."""


class ApiConfigError(RuntimeError):
    """No API server or no credentials to be found: names the file or option, and the remedy."""


class Status(msgspec.Struct):
    """meta/v1 Status: how the API tells what went wrong."""

    code: int = 0
    reason: str = ""
    message: str = ""

    def error(self) -> ApiError:
        return ApiError(self.code, self.reason, self.message)


class Api:
    """One API server. ``namespace``: where weft itself lives. ``problem``: why it is out of reach; else empty."""

    def __init__(self, config: SingleConfig, namespace: str) -> None:
        """Use ``in_cluster`` or ``from_kubeconfig``. Raises ApiConfigError."""
        user = config.user or User()
        self.server, self.namespace, self.problem = config.cluster.server, namespace, ""
        self._back = asyncio.Event()
        self._back.set()
        try:
            transport = httpx2.AsyncHTTPTransport(
                verify=verify_cluster(config.cluster, user, config.abs_file),
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=4),
                socket_options=_SOCKET_OPTIONS,
            )
            auth = user_auth(user)
        except (ConfigError, OSError, ValueError) as error:
            raise ApiConfigError(f"the credentials for {self.server}: {error}") from error
        self._http = httpx2.AsyncClient(
            base_url=self.server,
            auth=auth,
            transport=transport,
            timeout=httpx2.Timeout(REQUEST_SECONDS, connect=CONNECT_SECONDS, pool=None),
            headers={"User-Agent": f"weft/{weft.__version__}", "Accept": "application/json"},
        )

    @classmethod
    def in_cluster(cls, host: str = "", port: int = 0, namespace: str = "", folder: Path = SERVICE_ACCOUNT_DIR) -> Api:
        """As a pod with a service account. ``host`` and ``port`` (443) instead of those of the Service ``kubernetes``,
        which may need weft to be reached. Raises ApiConfigError."""
        address = host or os.environ.get("KUBERNETES_SERVICE_HOST", "")
        if not address:
            raise ApiConfigError("no API server: not in a pod (KUBERNETES_SERVICE_HOST is not set); use --kubeconfig")
        number = port or (443 if host else int(os.environ.get("KUBERNETES_SERVICE_PORT", "443")))
        if not (folder / "token").is_file():
            raise ApiConfigError(f"{folder / 'token'} is missing: the pod needs a service account; or use --kubeconfig")
        found = KubeConfig.from_one(
            cluster=Cluster(server=_url(address, number), certificate_auth=str(folder / "ca.crt")),
            user=User(token_file=str(folder / "token")),
        ).get()
        assert found
        home = folder / "namespace"
        return cls(found, namespace or (home.read_text().strip() if home.is_file() else "kube-system"))

    @classmethod
    def from_kubeconfig(cls, path: Path, host: str = "", port: int = 0, namespace: str = "kube-system") -> Api:
        """Its current context. Raises ApiConfigError."""
        try:
            found = KubeConfig.from_file(path).get()
            assert found
        except (ConfigError, OSError, KeyError, ValueError) as error:
            raise ApiConfigError(f"{path}: {error}; expected a kubeconfig with a current context") from error
        if host:
            found.cluster.server = _url(host, port or 443)
        return cls(found, namespace)

    async def close(self) -> None:
        await self._http.aclose()

    async def get(self, path: str, params: Mapping[str, Any] | None = None) -> bytes:
        """The body. Raises ApiError."""
        return await self._request("GET", path, params=params)

    async def send(self, method: str, path: str, body: Any, content_type: str = "application/json") -> bytes:
        """``body``: plain data. Raises ApiError."""
        headers = {"Content-Type": content_type}
        return await self._request(method, path, content=msgspec.json.encode(body), headers=headers)

    @asynccontextmanager
    async def stream(
        self, path: str, params: Mapping[str, Any], silence: float
    ) -> AsyncGenerator[AsyncIterator[list[bytes]]]:
        """Lines, those that came together in one list. After ``silence`` seconds without one it ends: whoever goes on
        where it ended finds out whether the server had nothing to say, or could not be heard. Raises ApiError."""
        timeout = httpx2.Timeout(REQUEST_SECONDS, read=silence, connect=CONNECT_SECONDS, pool=None)
        request = self._http.build_request("GET", path, params=params, timeout=timeout)
        try:
            async with asyncio.timeout(REQUEST_SECONDS):  # the headers come at once, whatever happens in the cluster
                response = await self._http.send(request, stream=True)
            async with aclosing(response):
                self._check(response, await response.aread() if response.is_error else b"")
                yield self._lines(response)
        except (httpx2.HTTPError, ConfigError, OSError) as error:
            raise self._lost(error) from error

    async def pause(self, seconds: float) -> None:
        """Sleep, but no longer than until the API server is in reach again."""
        if not self.problem:
            await asyncio.sleep(seconds)
            return
        try:
            async with asyncio.timeout(seconds):
                await self._back.wait()
        except TimeoutError:
            pass

    async def _request(self, method: str, path: str, **more: Any) -> bytes:
        try:
            response = await self._http.request(method, path, **more)
        except (httpx2.HTTPError, ConfigError, OSError) as error:
            raise self._lost(error) from error
        self._check(response, response.content)
        return response.content

    async def _lines(self, response: httpx2.Response) -> AsyncIterator[list[bytes]]:
        rest = b""
        with suppress(httpx2.ReadTimeout):
            async for chunk in response.aiter_bytes():
                *lines, rest = (rest + chunk).split(b"\n")
                if lines:
                    yield lines

    def _check(self, response: httpx2.Response, body: bytes) -> None:
        """Raises ApiError for an answer that is one."""
        if not response.is_error:
            self.problem = ""
            self._back.set()
            return
        try:
            status = msgspec.json.decode(body, type=Status)
        except msgspec.MsgspecError:
            status = Status(message=body[:200].decode(errors="replace").strip())
        after = response.headers.get("Retry-After", "")
        error = ApiError(response.status_code, status.reason, status.message, float(after) if after.isdigit() else 0)
        if error.code in (502, 503, 504):  # starting, stopping, or a load balancer without a server behind it
            raise self._lost(error)
        raise error

    def _lost(self, error: Exception) -> UnreachableError:
        cause = str(error) or type(error).__name__
        self.problem = f"the API server {self.server} is out of reach: {cause}; what it said last stays in force"
        self._back.clear()
        return UnreachableError(0, "", self.problem, getattr(error, "retry_after", 0))


def _url(host: str, port: int) -> str:
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
