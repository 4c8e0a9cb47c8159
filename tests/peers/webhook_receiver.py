"""Takes webhooks over TLS and checks their signatures by the library of the Standard Webhooks.

webhook_receiver.py PORT CERTIFICATE KEY FOLDER: in FOLDER, `secret` is what proves the sender, `status` what
is answered (200 where there is none), `heard` gets a line of JSON for each message: how it was proved, its id,
its text.
"""

import json
import pathlib
import ssl
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

port, certificate, key, folder = sys.argv[1:]
folder = pathlib.Path(folder)


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        text = self.rfile.read(int(self.headers["content-length"]))
        secret = (folder / "secret").read_text()
        try:
            Webhook(secret).verify(text, dict(self.headers))
            proved = True
        except WebhookVerificationError:
            proved = False
        status = folder / "status"
        status = int(status.read_text()) if status.exists() else 200
        line = {"proved": proved, "id": self.headers["webhook-id"], "path": self.path, "status": status}
        line["message"] = json.loads(text)
        line["signatures"] = len(self.headers["webhook-signature"].split(" "))
        with open(folder / "heard", "a") as heard:
            heard.write(json.dumps(line, ensure_ascii=False) + "\n")
        answer = b"not today\n"
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("location", f"https://localhost:{port}/elsewhere")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", int(port)), Receiver)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
