"""A SAML identity provider, pysaml2, that answers lines: arguments are a folder of its own and its entity id.
First it writes `metadata.xml` and prints a line. Each line then is JSON: the metadata of a service to know,
or the address that a browser was sent to, who is logged in there, and how the answer is to differ from a
right one; what is printed then is what the browser is to post, as JSON."""

import json
import sys
import time
from urllib.parse import parse_qs, urlsplit

from saml2 import BINDING_HTTP_REDIRECT
from saml2.config import IdPConfig
from saml2.metadata import entity_descriptor
from saml2.saml import NAMEID_FORMAT_PERSISTENT, NAMEID_FORMAT_TRANSIENT, NameID
from saml2.server import Server

folder, entity = sys.argv[1:3]
config = {
    "entityid": entity,
    "xmlsec_binary": "/usr/bin/xmlsec1",
    "key_file": f"{folder}/key.pem",
    "cert_file": f"{folder}/cert.pem",
    "metadata": {"inline": []},
    "service": {
        "idp": {
            "endpoints": {"single_sign_on_service": [("https://idp.example/sso", BINDING_HTTP_REDIRECT)]},
            "policy": {"default": {"lifetime": {"minutes": 5}, "attribute_restrictions": None}},
        }
    },
}
idp = Server(config=IdPConfig().load(config))
with open(f"{folder}/metadata.xml", "w") as file:
    file.write(str(entity_descriptor(idp.config)))
print("ready", flush=True)

for line in sys.stdin:
    wanted = json.loads(line)
    if "service" in wanted:
        idp.metadata.load("inline", wanted["service"])
        print("known", flush=True)
        continue
    query = parse_qs(urlsplit(wanted["url"]).query)
    request = idp.parse_authn_request(query["SAMLRequest"][0], BINDING_HTTP_REDIRECT)
    to = idp.response_args(request.message)
    transient = wanted.get("transient", False)
    name_id = NameID(
        format=NAMEID_FORMAT_TRANSIENT if transient else NAMEID_FORMAT_PERSISTENT,
        text=wanted["subject"],
    )
    authn = {"class_ref": "urn:oasis:names:tc:SAML:2.0:ac:classes:Password", "authn_auth": entity}
    if "authn_ago" in wanted:
        authn["authn_instant"] = time.time() - wanted["authn_ago"]
    response = idp.create_authn_response(
        {"uid": [wanted["login"]], "displayName": [wanted["name"]]},
        wanted.get("in_response_to", to["in_response_to"]),
        wanted.get("destination", to["destination"]),
        wanted.get("audience", to["sp_entity_id"]),
        name_id=name_id,
        authn=authn,
        sign_response=wanted.get("sign_response", False),
        sign_assertion=wanted.get("sign_assertion", True),
        sign_alg=wanted.get("algorithm", "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"),
        digest_alg="http://www.w3.org/2001/04/xmlenc#sha256",
    )
    told = {"SAMLResponse": str(response), "RelayState": query["RelayState"][0]}
    print(json.dumps({**told, "force": request.message.force_authn == "true"}), flush=True)
