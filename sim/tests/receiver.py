"""A receiver of security events (RFC 8935) that shares no code with the sender:
PyJWT and OpenSSL verify what arrives, under the sender's published key set.

receiver.py PORT JWKS_URL AUDIENCE ISSUER MODE...
Each POST takes the next MODE: `500`, `hang`, `400`, or `good` for ever after.
Prints a JSON line for every POST.
"""

import json
import sys
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt

port, jwks_url, audience, issuer, *modes = sys.argv[1:]
with urllib.request.urlopen(jwks_url) as answer:
    keys = {k["kid"]: jwt.PyJWK(k).key for k in json.load(answer)["keys"]}


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        token = self.rfile.read(int(self.headers["Content-Length"])).decode()
        seen = {"mode": modes.pop(0) if modes else "good"}
        status, body = 202, b""
        try:
            assert self.headers["Content-Type"] == "application/secevent+jwt"
            header = jwt.get_unverified_header(token)
            seen["header"] = header
            assert header["typ"] == "secevent+jwt"
            seen["claims"] = jwt.decode(
                token,
                keys[header["kid"]],
                algorithms=["EdDSA"],
                audience=audience,
                issuer=issuer,
                options={"require": ["jti", "iat", "iss", "aud"]},
            )
            # One flipped letter of the payload must not verify.
            head, payload, tail = token.split(".")
            other = payload[:-2] + ("A" if payload[-2] != "A" else "B") + payload[-1]
            try:
                jwt.decode(".".join([head, other, tail]), keys[header["kid"]],
                           algorithms=["EdDSA"], audience=audience)
                seen["forged"] = True
            except jwt.InvalidTokenError:
                seen["forged"] = False
        except Exception as e:  # said, and refused
            seen["refused"] = repr(e)
            status, body = 400, json.dumps({"err": "invalid_request", "description": "no"}).encode()
        print(json.dumps(seen), flush=True)
        if seen["mode"] == "hang":
            time.sleep(9)
        elif seen["mode"] != "good":
            status = int(seen["mode"])
            body = json.dumps({"err": "access_denied", "description": "not now"}).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            pass

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", int(port)), Receiver)
print(json.dumps({"mode": "listening", "port": server.server_port}), flush=True)
server.serve_forever()
