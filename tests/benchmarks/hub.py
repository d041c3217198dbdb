"""A small hub on loopback: the few answers of the Hugging Face hub that a download of a data set asks for."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class Hub:
    """Data sets by name, each with its files; ``asked`` are the paths of all requests."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                hub._answer(self, body=False)

            def do_GET(self) -> None:
                hub._answer(self, body=True)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def commit(self, name: str) -> str:
        """The commit of a data set: a hash of its files, as on the hub another one for other files."""
        digest = hashlib.sha1()
        for path, data in sorted(self.files[name].items()):
            digest.update(f"{path}\0{hashlib.sha1(data).hexdigest()}\0".encode())
        return digest.hexdigest()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler, *, body: bool) -> None:
        path = unquote(urlsplit(request.path).path)
        self.asked.append(path)
        status, headers, data = self._found(path)
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        if body:
            request.wfile.write(data)

    def _found(self, path: str) -> tuple[int, dict[str, str], bytes]:
        parts = path.strip("/").split("/")
        api = parts[0] == "api"
        name = "/".join(parts[2:4] if api else parts[1:3])
        rest = parts[4:] if api else parts[3:]
        if name not in self.files:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        commit = self.commit(name)
        if len(rest) > 1 and rest[1] not in ("main", commit):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        if api:
            return 200, {"Content-Type": "application/json"}, json.dumps(self._told(name, rest)).encode()
        data = self.files[name]["/".join(rest[2:])]
        return 200, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": commit}, data

    def _told(self, name: str, rest: list[str]) -> object:
        if rest and rest[0] == "tree":
            return [
                {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for path, data in self.files[name].items()
            ]
        siblings = [{"rfilename": path} for path in self.files[name]]
        return {"id": name, "sha": self.commit(name), "private": False, "tags": [], "siblings": siblings}
