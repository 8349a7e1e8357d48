"""A hub on this machine: the few end points of the Hugging Face Hub that a model needs."""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_writes"


class Hub(ThreadingHTTPServer):
    """Repositories in memory: name → branch or commit → path → content."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.empty()

    def empty(self):
        """Forget all repositories."""
        self.repos, self.private, self.gated, self.asked = {}, set(), set(), []

    def commit(self, repo, branch, files, gone=()):
        """Put files on top of what a branch has, and take some away."""
        branches = self.repos.setdefault(repo, {"main": {}})
        before = {k: v for k, v in branches.get(branch, {}).items() if k not in gone}
        content = before | files
        told = sorted((name, hashlib.sha1(data).hexdigest()) for name, data in content.items())
        sha = hashlib.sha1(json.dumps(told).encode()).hexdigest()
        branches[branch] = branches[sha] = content
        return sha

    def sha(self, repo, branch):
        found = self.repos[repo][branch]
        return next(k for k, v in self.repos[repo].items() if v is found and len(k) == 40)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _answer(self, status, value=b"", **headers):
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _all(self):
        path = unquote(urlsplit(self.path).path)
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        self.server.asked.append((self.command, path))
        may_write = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        words = path.strip("/").split("/")
        if words[:2] == ["api", "validate-yaml"]:
            return self._answer(200, {"errors": [], "warnings": []})
        if words[:3] == ["api", "repos", "create"]:
            return self._create(json.loads(body), may_write)
        if words[:2] == ["api", "models"]:
            repo, what = "/".join(words[2:4]), words[4:]
        else:
            repo, what = "/".join(words[:2]), words[2:]
        if repo not in self.server.repos or (repo in self.server.private and not may_write):
            return self._answer(404, {"error": "no"}, X_Error_Code="RepoNotFound")
        if repo in self.server.gated and "resolve" in what:
            return self._answer(403, {"error": "no"}, X_Error_Code="GatedRepo")
        if self.command == "POST" and not may_write:
            return self._answer(403, {"error": "this token only reads"})
        branches = self.server.repos[repo]
        if what[:1] == ["branch"]:
            branches.setdefault(what[1], branches["main"])
            return self._answer(200)
        if what[:1] == ["preupload"]:
            # the real one has large files brought another way, which is not ours to test
            asked = [file["path"] for file in json.loads(body)["files"]]
            files = [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in asked]
            return self._answer(200, {"files": files})
        if what[:1] == ["commit"]:
            return self._commit(repo, what[1], body)
        branch = what[1] if len(what) > 1 else "main"
        if branch not in branches:
            return self._answer(404, {"error": "no"}, X_Error_Code="RevisionNotFound")
        if what[:1] == ["tree"]:
            files = [
                {
                    "type": "file",
                    "path": name,
                    "size": len(data),
                    "oid": hashlib.sha1(data).hexdigest(),
                }
                for name, data in branches[branch].items()
            ]
            return self._answer(200, files)
        sha = self.server.sha(repo, branch)
        if what[:1] == ["resolve"]:
            data = branches[branch].get("/".join(what[2:]))
            if data is None:
                return self._answer(404, {"error": "no"}, X_Error_Code="EntryNotFound")
            tag = f'"{hashlib.sha1(data).hexdigest()}"'
            return self._answer(200, data, X_Repo_Commit=sha, ETag=tag)
        siblings = [{"rfilename": name} for name in branches[branch]]
        return self._answer(200, {"id": repo, "sha": sha, "siblings": siblings})

    def _create(self, asked, may_write):
        if not may_write:
            return self._answer(401, {"error": "Invalid username or password."})
        repo = f"{asked.get('organization')}/{asked['name']}"
        there = repo in self.server.repos
        if not there:
            self.server.commit(repo, "main", {})
            if "private" in (asked.get("visibility"), asked.get("private") and "private"):
                self.server.private.add(repo)
        return self._answer(409 if there else 200, {"url": f"{self.server.url}/{repo}"})

    def _commit(self, repo, branch, body):
        files, gone = {}, []
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                gone.append(line["value"]["path"])
        sha = self.server.commit(repo, branch, files, gone)
        url = f"{self.server.url}/{repo}/commit/{sha}"
        return self._answer(200, {"commitUrl": url, "commitOid": sha})

    do_GET = do_HEAD = do_POST = do_PUT = _all  # noqa: N815


@contextmanager
def running_hub():
    """Start one, and end it."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
