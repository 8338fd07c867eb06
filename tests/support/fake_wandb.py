"""The part of a W&B server that a run contacts: it accepts and records all requests, and can be disconnected."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FakeWandb:
    """Serves on a free port of this machine from `with` on. `refuse` answers 401 to everything: a wrong key."""

    def __init__(self, refuse: bool = False) -> None:
        self.operations: list[str] = []
        self.history: list[dict] = []
        self._texts: list[str] = []
        self._refuse = refuse
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode(errors="replace")
                fake._texts.append(body)
                self._answer(fake._post(self.path, body))

            do_PUT = do_POST

            def do_GET(self) -> None:
                self._answer({})

            def _answer(self, content: dict) -> None:
                data = json.dumps(content).encode()
                self.send_response(401 if fake._refuse else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def text(self) -> str:
        """Everything that was sent."""
        return "".join(self._texts)

    def _post(self, path: str, body: str) -> dict:
        if "graphql" not in path:
            for file in json.loads(body).get("files", {}).items() if body.startswith("{") else ():
                if file[0] == "wandb-history.jsonl":
                    self.history += [json.loads(line) for line in file[1]["content"]]
            return {"exitcode": None, "limits": {}}
        request = json.loads(body)
        name = request.get("operationName") or request["query"].split("(")[0].split()[-1]
        self.operations.append(name)
        user = {"id": "u", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}
        project = {"id": "p", "name": "emotion-dann", "entity": {"id": "e", "name": "me"}}
        run = (request.get("variables") or {}).get("name") or "run"
        bucket = {"id": "b", "name": run, "displayName": run, "sweepName": None, "project": project}
        bucket |= {
            "historyLineCount": 0,
            "eventsLineCount": 0,
            "logLineCount": 0,
            "config": "{}",
            "summaryMetrics": "{}",
        }
        bucket |= {"historyTail": "[]", "eventsTail": "[]", "tags": [], "wandbConfig": '{"t": 1}'}
        info = {"cliVersionInfo": {"max_cli_version": "9.9"}, "latestLocalVersionInfo": None, "features": []}
        asked = request.get("variables", {}).get("files") or []
        files = [{"name": name, "uploadUrl": f"{self.url}/upload"} for name in asked]
        held = {"id": "a", "digest": "d", "state": "COMMITTED", "aliases": [], "versionIndex": 0}
        held |= {"artifactSequence": {"id": "s", "latestArtifact": {"id": "a", "versionIndex": 0}}}
        answers = {
            "CreateArtifact": {"createArtifact": {"artifact": held}},
            "CreateRunFiles": {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}},
            "UpsertBucket": {"upsertBucket": {"bucket": bucket, "inserted": True}},
            "RunResumeStatus": {"model": None},
            "Viewer": {"viewer": user},
            "ArtifactType": {"project": {"artifact": None}},
        }
        return {"data": answers.get(name, {"viewer": user, "serverInfo": info, "model": None})}

    def __enter__(self) -> "FakeWandb":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def cut(self) -> None:
        """Stop answering: connections are refused from now on."""
        self._server.shutdown()
        self._server.server_close()

    def __exit__(self, *_) -> None:
        self.cut()
