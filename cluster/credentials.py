"""Keys, certificates, tokens and kubeconfigs of a cluster: made with openssl, good for a test cluster's life."""

from __future__ import annotations

import base64
import json
import secrets
from pathlib import Path

from cluster.layout import API_PORT, API_SERVICES, CONTROL_PLANE, DOMAIN
from cluster.processes import command

DAYS = "3650"
_API_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    f"kubernetes.default.svc.{DOMAIN}",
    "localhost",
)
_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
INSIDE = f"https://{CONTROL_PLANE[0]}:{API_PORT}"


class Credentials:
    """All of one cluster's, in the folder ``folder``: ``ca.crt``, ``server.crt``, ``sa.key``, ``tokens.csv`` …"""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, users: dict[str, tuple[str, ...]]) -> None:
        """Everything, new; a token for each of ``users`` (name: its groups)."""
        self.folder.mkdir(parents=True)
        self._certificates()
        (self.folder / "tokens.csv").write_text(
            "".join(f'{secrets.token_hex(16)},{name},{name},"{",".join(groups)}"\n' for name, groups in users.items())
        )

    def token(self, user: str) -> str:
        """A user's bearer token."""
        for line in (self.folder / "tokens.csv").read_text().splitlines():
            token, name, *_ = line.split(",")
            if name == user:
                return token
        raise KeyError(f"no token for {user}")

    def kubeconfig(self, user: str, file: Path, server: str = INSIDE) -> Path:
        """Write the kubeconfig with which ``user`` reaches the API server at ``server``."""
        authority = base64.b64encode((self.folder / "ca.crt").read_bytes()).decode()
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "cluster", "cluster": {"server": server, "certificate-authority-data": authority}}],
            "users": [{"name": user, "user": {"token": self.token(user)}}],
            "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": user}}],
            "current-context": "cluster",
        }
        file.write_text(json.dumps(config, indent=1) + "\n")
        file.chmod(0o600)
        return file

    def _certificates(self) -> None:
        at = str(self.folder)
        names = [f"DNS:{name}" for name in _API_NAMES]
        names += [f"IP:{address}" for address in ("127.0.0.1", *CONTROL_PLANE, *API_SERVICES)]
        command(
            "openssl", "req", "-x509", *_EC, "-days", DAYS, "-subj", "/CN=cluster",
            "-keyout", f"{at}/ca.key", "-out", f"{at}/ca.crt",
        )  # fmt: skip
        self._certificate("server", "/CN=kube-apiserver", "subjectAltName=" + ",".join(names))
        self._certificate("kubelet-client", "/O=system:masters/CN=kube-apiserver", "extendedKeyUsage=clientAuth")
        command("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{at}/sa.key")
        command("openssl", "ec", "-in", f"{at}/sa.key", "-pubout", "-out", f"{at}/sa.pub")

    def _certificate(self, name: str, subject: str, extension: str) -> None:
        at = str(self.folder)
        command(
            "openssl", "req", "-x509", *_EC, "-days", DAYS, "-subj", subject, "-addext", extension,
            "-addext", "basicConstraints=critical,CA:FALSE", "-CA", f"{at}/ca.crt", "-CAkey", f"{at}/ca.key",
            "-keyout", f"{at}/{name}.key", "-out", f"{at}/{name}.crt",
        )  # fmt: skip
