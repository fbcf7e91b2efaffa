"""Every kind of secret and of login, on a real server."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from sidecar.secrets.agent import SecretsAgent
from sidecar.secrets.clock import Clock
from sidecar.secrets.settings import AuthSettings, FileSettings, SecretSettings, SecretsSettings
from tests.integration.secrets.reader_process import process, written
from tests.integration.secrets.vault import Vault, until
from tests.openbao import OpenBao, RefusedError, running_openbao
from tests.require import require_binary, require_namespaces

pytestmark = pytest.mark.real
TLS_FILES = (
    FileSettings(name="tls.crt", format="raw", key="chain"),
    FileSettings(name="tls.key", format="raw", key="private_key", mode="0400"),
    FileSettings(name="ca.crt", format="raw", key="ca"),
)


def allow(vault: Vault, path: str, *capabilities: str) -> None:
    """Adds a rule to the test's policy."""
    old = vault.bao.call("GET", f"sys/policies/acl/{vault.name}")["data"]["policy"]
    rule = f'path "{path}" {{ capabilities = {json.dumps(capabilities)} }}\n'
    vault.bao.call("PUT", f"sys/policies/acl/{vault.name}", {"policy": old + rule})


def mount(vault: Vault, path: str, kind: str, **options: Any) -> None:
    if f"{path}/" not in vault.bao.call("GET", "sys/mounts")["data"]:
        vault.bao.call("POST", f"sys/mounts/{path}", {"type": kind, **options})


def only(vault: Vault, secret: SecretSettings, **changes: Any) -> SecretsSettings:
    return vault.settings(secrets=(secret,), **changes)


def pki(vault: Vault, ttl: str) -> SecretSettings:
    """A role of an authority of its own."""
    mount(vault, "pki", "pki", config={"max_lease_ttl": "87600h"})
    if not issuers(vault):
        root = {"common_name": "test", "key_type": "ec", "key_bits": 256}
        vault.bao.call("POST", "pki/root/generate/internal", root)
    role = {"allowed_domains": "broker.svc", "allow_subdomains": True, "key_type": "ec", "key_bits": 256, "ttl": ttl}
    vault.bao.call("POST", f"pki/roles/{vault.name}", role)
    allow(vault, f"pki/issue/{vault.name}", "update")
    parameters = {"common_name": "api.broker.svc"}
    return SecretSettings(name="tls", source="pki", role=vault.name, parameters=parameters, files=TLS_FILES)


def issuers(vault: Vault) -> list[str]:
    try:
        return list(vault.bao.call("LIST", "pki/issuers")["data"]["keys"])
    except RefusedError:
        return []


def fits(place: Path) -> x509.Certificate:
    """The published certificate, whose key is the published key."""
    certificate = x509.load_pem_x509_certificate((place / "tls.crt").read_bytes())
    key = serialization.load_pem_private_key((place / "tls.key").read_bytes(), None)
    assert certificate.public_key() == key.public_key()
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(place / "tls.crt", place / "tls.key")
    return certificate


async def test_a_certificate_is_published_with_its_key_and_chain(vault: Vault) -> None:
    async with vault.running(only(vault, pki(vault, "1h"))) as agent:
        place = vault.place / "published"
        certificate = fits(place)
        authority = x509.load_pem_x509_certificate((place / "ca.crt").read_bytes())
        certificate.verify_directly_issued_by(authority)
        assert (place / "tls.key").stat().st_mode & 0o777 == 0o400
        left = agent.status().secrets[0].expires_in_s
        assert left is not None
        assert 3500 < left <= 3630


class WrongClock(Clock):
    """A machine's clock that was set wrong."""

    def __init__(self, off: timedelta) -> None:
        self._off = off

    def wall(self) -> datetime:
        return super().wall() + self._off


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_wrong_clock_changes_no_life_of_a_certificate(vault: Vault, hours: int) -> None:
    settings = only(vault, pki(vault, "30m"))
    agent, stop = SecretsAgent(settings, clock=WrongClock(timedelta(hours=hours))), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(agent.run(stop))
        await until(lambda: agent.status().generation_published == 1)
        await asyncio.sleep(1)
        (told,) = agent.status().secrets
        stop.set()
    assert told.expires_in_s == pytest.approx(1800, abs=10)
    assert told.reads == {"first": 1}


async def test_a_certificate_is_replaced_before_its_end(vault: Vault) -> None:
    async with vault.running(only(vault, pki(vault, "12s"), acknowledge_timeout_s=3.0)) as agent:
        first = fits(vault.place / "published")
        await until(lambda: agent.status().generation_published >= 2)
        second = fits(vault.place / "published")
        assert second.serial_number != first.serial_number
        assert time.time() < first.not_valid_after_utc.timestamp()


async def test_a_static_role_follows_its_rotation(vault: Vault) -> None:
    admin = await asyncpg.connect(vault.postgres.url(driver="postgresql"))
    await admin.execute("CREATE ROLE fixed LOGIN PASSWORD 'before'")
    await admin.close()
    vault.bao.call("POST", f"database/config/{vault.name}", {"allowed_roles": "*"})
    role = {"db_name": vault.name, "username": "fixed", "rotation_period": "6s"}
    vault.bao.call("POST", f"database/static-roles/{vault.name}-fixed", role)
    allow(vault, f"database/static-creds/{vault.name}-fixed", "read")
    file = FileSettings(name="database.json", keys=("username", "password"))
    secret = SecretSettings(name="database", source="static_role", role=f"{vault.name}-fixed", files=(file,))
    async with vault.running(only(vault, secret)) as agent:
        first = vault.read("database.json")
        await until(lambda: agent.status().generation_published >= 2)
        second = vault.read("database.json")
        assert first["password"] != second["password"]
        where = {"host": "127.0.0.1", "port": vault.postgres.port, "database": "postgres"}
        connection = await asyncpg.connect(user="fixed", password=second["password"], **where)
        await connection.close()


async def test_a_static_role_that_was_rotated_by_hand_is_read_on_the_poll(vault: Vault) -> None:
    admin = await asyncpg.connect(vault.postgres.url(driver="postgresql"))
    await admin.execute("CREATE ROLE manual LOGIN PASSWORD 'before'")
    await admin.close()
    vault.bao.call("POST", f"database/config/{vault.name}", {"allowed_roles": "*"})
    role = {"db_name": vault.name, "username": "manual", "rotation_period": "24h"}
    vault.bao.call("POST", f"database/static-roles/{vault.name}-manual", role)
    allow(vault, f"database/static-creds/{vault.name}-manual", "read")
    file = FileSettings(name="database.json", keys=("username", "password"))
    secret = SecretSettings(name="database", source="static_role", role=f"{vault.name}-manual", files=(file,))
    async with vault.running(only(vault, secret)):
        first = vault.read("database.json")["password"]
        vault.bao.call("POST", f"database/rotate-role/{vault.name}-manual", {})
        await until(lambda: vault.read("database.json")["password"] != first)
        await (await vault.connect()).close()


@pytest.mark.parametrize("path", ["a#b", "what?x=1", "pct%2Fslash", "with space & more", "ümlaut"])
async def test_a_path_is_taken_letter_by_letter(vault: Vault, path: str) -> None:
    vault.bao.write_kv(quote(f"{vault.name}/{path}"), token="wanted")
    for other in ("a", "what", "pct/slash"):
        vault.bao.write_kv(f"{vault.name}/{other}", token="other")
    secret = SecretSettings(
        name="venue", source="kv", path=f"{vault.name}/{path}", files=(FileSettings(name="venue.json"),)
    )
    async with vault.running(only(vault, secret)):
        assert vault.read("venue.json") == {"token": "wanted"}


async def test_a_certificate_of_an_intermediate_comes_with_its_root(vault: Vault) -> None:
    secret = pki(vault, "1h")
    mount(vault, "middle", "pki", config={"max_lease_ttl": "8760h"})
    names = {"common_name": "middle", "key_type": "ec", "key_bits": 256}
    request = vault.bao.call("POST", "middle/intermediate/generate/internal", names)["data"]["csr"]
    signed = vault.bao.call("POST", "pki/root/sign-intermediate", {"csr": request, "common_name": "middle"})["data"]
    chain = "\n".join([signed["certificate"], signed["issuing_ca"]])
    vault.bao.call("POST", "middle/intermediate/set-signed", {"certificate": chain})
    role = {"allowed_domains": "broker.svc", "allow_subdomains": True, "key_type": "ec", "key_bits": 256, "ttl": "1h"}
    vault.bao.call("POST", f"middle/roles/{vault.name}", role)
    allow(vault, f"middle/issue/{vault.name}", "update")
    async with vault.running(only(vault, replace(secret, mount="middle", role=vault.name))):
        place = vault.place / "published"
        authorities = x509.load_pem_x509_certificates((place / "ca.crt").read_bytes())
        assert [item.subject == item.issuer for item in authorities] == [False, True]
        command = ["openssl", "verify", "-CAfile", str(place / "ca.crt"), str(place / "tls.crt")]
        subprocess.run(command, check=True, capture_output=True)


async def test_a_certificate_that_was_revoked_is_replaced(vault: Vault) -> None:
    async with vault.running(only(vault, pki(vault, "1h"))) as agent:
        serial = agent.status().secrets[0].version
        vault.bao.call("POST", "pki/revoke", {"serial_number": serial})
        await until(lambda: agent.status().generation_published == 2)
        assert agent.status().secrets[0].version != serial


async def test_a_leased_certificate_lives_as_long_as_it_is_published(vault: Vault) -> None:
    secret = pki(vault, "1h")
    vault.bao.call(
        "POST",
        f"pki/roles/{secret.role}",
        vault.bao.call("GET", f"pki/roles/{secret.role}")["data"] | {"generate_lease": True},
    )
    async with vault.running(only(vault, secret)) as agent:
        agent.acknowledgements.applied("broker", 1)
        (accessor,) = vault.tokens()
        assert agent.status().leases == 1
        vault.bao.call("POST", "auth/token/revoke-accessor", {"accessor": accessor})
        await until(lambda: agent.status().generation_published == 2)
        agent.acknowledgements.applied("broker", 2)
        await until(lambda: agent.status().leases == 1)
        agent.acknowledgements.goodbye("broker")
    await until(lambda: vault.tokens() == [])


async def test_a_sealed_value_is_opened_and_followed(vault: Vault) -> None:
    mount(vault, "transit", "transit")
    vault.bao.call("POST", f"transit/keys/{vault.name}", {})
    allow(vault, f"transit/decrypt/{vault.name}", "update")
    sealed = vault.place / "sealed"

    def seal(text: str) -> None:
        body = {"plaintext": base64.b64encode(text.encode()).decode()}
        sealed.write_text(vault.bao.call("POST", f"transit/encrypt/{vault.name}", body)["data"]["ciphertext"])

    seal("one")
    file = FileSettings(name="opened", format="raw", key="text")
    secret = SecretSettings(name="sealed", source="transit", role=vault.name, ciphertext_file=sealed, files=(file,))
    async with vault.running(only(vault, secret, poll_interval_s=0.2)):
        assert (vault.place / "published" / "opened").read_text() == "one"
        seal("two")
        await until(lambda: (vault.place / "published" / "opened").read_text() == "two")


async def test_an_unversioned_secret_is_followed_by_reading_it(vault: Vault) -> None:
    mount(vault, "old", "kv", options={"version": "1"})
    vault.bao.call("POST", f"old/{vault.name}", {"k": "one"})
    allow(vault, f"old/{vault.name}", "read")
    file = FileSettings(name="old.env", format="dotenv")
    secret = SecretSettings(name="old", source="kv1", mount="old", path=vault.name, files=(file,))
    async with vault.running(only(vault, secret, poll_interval_s=0.2)) as agent:
        assert (vault.place / "published" / "old.env").read_text() == "k='one'\n"
        vault.bao.call("POST", f"old/{vault.name}", {"k": "two"})
        await until(lambda: (vault.place / "published" / "old.env").read_text() == "k='two'\n")
        await until(lambda: agent.status().generation_published == 2)


async def test_a_deleted_secret_keeps_its_last_value_and_says_so(vault: Vault) -> None:
    async with vault.running(vault.settings(database=False, poll_interval_s=0.2)) as agent:
        vault.bao.call("DELETE", f"secret/data/{vault.name}/venue")
        await until(lambda: agent.status().secrets[0].state == "failing")
        last_error = agent.status().secrets[0].last_error
        assert last_error is not None
        assert "version 1" in last_error.message
        assert vault.read("venue.json") == {"token": "first"}


async def test_a_namespace_is_respected(vault: Vault) -> None:
    require_namespaces(available=vault.bao.has_namespaces)
    vault.bao.call("POST", f"sys/namespaces/{vault.name}", {})
    inside = OpenBao(address=f"{vault.bao.address}", process=vault.bao.process)
    prefix = vault.name
    inside.call("POST", f"{prefix}/sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})
    for _ in range(50):
        try:
            inside.call("POST", f"{prefix}/secret/data/venue", {"data": {"token": "inside"}})
            break
        except Exception:  # noqa: BLE001 - a new mount upgrades its data for a moment
            time.sleep(0.05)
    rules = 'path "secret/*" { capabilities = ["read"] }'
    inside.call("PUT", f"{prefix}/sys/policies/acl/reader", {"policy": rules})
    token = inside.call("POST", f"{prefix}/auth/token/create", {"policies": ["reader"], "ttl": "10m"})["auth"]
    (vault.place / "token").write_text(token["client_token"])
    secret = SecretSettings(name="venue", source="kv", path="venue", files=(FileSettings(name="venue.json"),))
    auth = AuthSettings(method="token_file", token_file=vault.place / "token")
    async with vault.running(only(vault, secret, auth=auth, namespace=prefix)) as agent:
        assert vault.read("venue.json") == {"token": "inside"}
        agent.acknowledgements.applied("broker", 1)
        agent.acknowledgements.goodbye("broker")
    inside.call("GET", f"{prefix}/auth/token/lookup-self", token=token["client_token"])


async def test_a_wrapped_secret_id_logs_in_once_opened(vault: Vault) -> None:
    wrapped = wrap(vault.bao, f"auth/approle/role/{vault.name}/secret-id")
    (vault.place / "secret-id").write_text(wrapped)
    settings = vault.settings(database=False)
    async with vault.running(replace(settings, auth=replace(settings.auth, secret_id_wrapped=True))) as agent:
        (accessor,) = vault.tokens()
        vault.bao.call("POST", "auth/token/revoke-accessor", {"accessor": accessor})
        await until(lambda: agent.status().token.logins.get("revoked") == 1)


def only_once(vault: Vault) -> None:
    """The role's next secret id works a single time, and is in the file."""
    vault.bao.call("POST", f"auth/approle/role/{vault.name}", {"secret_id_num_uses": 1})
    renew_secret_id(vault)


def renew_secret_id(vault: Vault) -> None:
    found = vault.bao.call("POST", f"auth/approle/role/{vault.name}/secret-id", {})["data"]
    (vault.place / "secret-id").write_text(found["secret_id"])


async def test_a_used_up_secret_id_is_named_and_a_new_one_taken_at_once(vault: Vault) -> None:
    only_once(vault)
    async with vault.running() as agent:
        agent.acknowledgements.applied("broker", 1)
        published = vault.read("database.json")
        (accessor,) = vault.tokens()
        vault.bao.call("POST", "auth/token/revoke-accessor", {"accessor": accessor})
        await until(lambda: (found := agent.status().token.last_error) and found.name == "secret_id_spent")
        last_error = agent.status().token.last_error
        assert last_error
        assert "it is used up (secret_id_num_uses), has expired or was destroyed" in last_error.message
        await asyncio.sleep(2.5)
        assert agent.status().requests["login", "invalid"] == 1
        assert vault.read("database.json") == published
        renew_secret_id(vault)
        await until(lambda: agent.status().generation_published == 2)
        assert len(vault.leases()) == 1


async def test_a_used_up_secret_id_costs_no_renewal_of_the_token(vault: Vault) -> None:
    only_once(vault)
    vault.bao.call("POST", f"auth/approle/role/{vault.name}", {"token_ttl": "3s", "token_max_ttl": "12s"})
    settings = vault.settings()
    auth = replace(settings.auth, max_ttl_s=12)
    async with vault.running(replace(settings, auth=auth)) as agent:
        await until(lambda: (found := agent.status().token.last_error) and found.name == "secret_id_spent")
        renewed = agent.status().requests["renew", "ok"]
        await until(lambda: agent.status().requests["renew", "ok"] > renewed)
        assert len(vault.leases()) == 1


async def test_a_wrapping_token_that_was_opened_before_is_named(vault: Vault) -> None:
    wrapped = wrap(vault.bao, f"auth/approle/role/{vault.name}/secret-id")
    vault.bao.call("POST", "sys/wrapping/unwrap", {}, token=wrapped)
    (vault.place / "secret-id").write_text(wrapped)
    settings = vault.settings(database=False)
    agent = SecretsAgent(replace(settings, auth=replace(settings.auth, secret_id_wrapped=True)))
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(agent.run(stop))
        await until(lambda: (found := agent.status().token.last_error) and found.name == "secret_id_spent")
        stop.set()


def wrap(bao: OpenBao, path: str) -> str:
    """The token that wraps what a request gives."""
    headers = {"X-Vault-Token": bao.token, "X-Vault-Wrap-TTL": "60s"}
    request = urllib.request.Request(f"{bao.address}/v1/{path}", data=b"{}", headers=headers, method="POST")  # noqa: S310 - our own server
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - see above
        return str(json.loads(answer.read())["wrap_info"]["token"])


class Issuer:
    """Makes the tokens that a cluster would project."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def public_key(self) -> str:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()

    def token(self, **claims: Any) -> str:
        now = int(time.time())
        standard = {"iss": "cluster", "sub": "system:serviceaccount:broker:broker", "aud": ["vault"]}
        body = standard | {"iat": now, "nbf": now - 5, "exp": now + 600} | claims
        head = ".".join(_segment(json.dumps(item).encode()) for item in ({"alg": "ES256", "typ": "JWT"}, body))
        r, s = utils.decode_dss_signature(self._key.sign(head.encode(), ec.ECDSA(hashes.SHA256())))
        return head + "." + _segment(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def _segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


async def test_a_signed_token_logs_in_by_jwt(vault: Vault) -> None:
    issuer = Issuer()
    if "jwt/" not in vault.bao.call("GET", "sys/auth")["data"]:
        vault.bao.call("POST", "sys/auth/jwt", {"type": "jwt"})
    vault.bao.call("POST", "auth/jwt/config", {"jwt_validation_pubkeys": [issuer.public_key]})
    role = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"], "token_policies": vault.name}
    vault.bao.call("POST", f"auth/jwt/role/{vault.name}", role)
    (vault.place / "jwt").write_text(issuer.token())
    auth = AuthSettings(method="jwt", role=vault.name, jwt_file=vault.place / "jwt")
    async with vault.running(vault.settings(database=False, auth=auth)):
        assert vault.read("venue.json") == {"token": "first"}


@contextmanager
def token_review(place: Path, **users: str) -> Iterator[str]:
    """An API server that knows who tokens belong to, and nothing else; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            user = users.get(review["spec"]["token"].split(".")[-1][:8])
            status: dict[str, Any] = {"authenticated": bool(user)}
            if user:
                status["user"] = {"username": user, "uid": "1", "groups": []}
                status["audiences"] = review["spec"].get("audiences") or ["vault"]
            body = json.dumps({"kind": "TokenReview", "status": status}).encode()
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - its parent's name
            """Silent."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place / "vault-cert.pem", place / "vault-key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_a_projected_token_logs_in_by_kubernetes_over_tls(vault: Vault) -> None:
    issuer, place = Issuer(), vault.place / "tls"
    place.mkdir()
    claims = {
        "kubernetes.io": {
            "namespace": "broker",
            "serviceaccount": {"name": "broker", "uid": "1"},
            "pod": {"name": "broker-0", "uid": "2"},
        }
    }
    token = issuer.token(**claims)
    (vault.place / "jwt").write_text(token)
    with (
        running_openbao("-dev-tls", f"-dev-tls-cert-dir={place}", tls=place) as bao,
        token_review(place, **{token.split(".")[-1][:8]: "system:serviceaccount:broker:broker"}) as api,
    ):
        bao.write_kv("venue", token="over-tls")
        bao.call("PUT", "sys/policies/acl/reader", {"policy": 'path "secret/*" { capabilities = ["read"] }'})
        bao.call("POST", "sys/auth/kubernetes", {"type": "kubernetes"})
        config = {
            "kubernetes_host": api,
            "kubernetes_ca_cert": (place / "vault-ca.pem").read_text(),
            "disable_local_ca_jwt": True,
        }
        bao.call("POST", "auth/kubernetes/config", config)
        role = {
            "bound_service_account_names": "broker",
            "bound_service_account_namespaces": "broker",
            "audience": "vault",
            "token_policies": "reader",
        }
        bao.call("POST", "auth/kubernetes/role/broker", role)
        settings = SecretsSettings(
            address=bao.address,
            ca_cert=place / "vault-ca.pem",
            auth=AuthSettings(method="kubernetes", role="broker", jwt_file=vault.place / "jwt"),
            directory=vault.place / "published",
            lease_journal=vault.place / "leases",
            require_tmpfs=False,
            secrets=(
                SecretSettings(name="venue", source="kv", path="venue", files=(FileSettings(name="venue.json"),)),
            ),
        )
        async with vault.running(settings) as agent:
            assert vault.read("venue.json") == {"token": "over-tls"}
            agent.acknowledgements.applied("broker", 1)
            agent.acknowledgements.goodbye("broker")


def documented_join() -> str:
    """The query of the page on secrets, word for word."""
    page = (Path(__file__).parents[3] / "docs" / "secrets.md").read_text()
    return page.split("## Audit")[1].split("```")[1].strip()


async def test_our_audit_joins_the_servers_own(tmp_path: Path) -> None:
    require_binary("jq", remedy="apt install jq")
    log = tmp_path / "audit.log"
    (tmp_path / "audit.hcl").write_text(f'audit "file" "file" {{ options {{ file_path = "{log}" }} }}')
    with running_openbao(f"-config={tmp_path / 'audit.hcl'}") as bao:
        vault = Vault(bao=bao, postgres=None, place=tmp_path, name="audited")  # type: ignore[arg-type] # not used
        bao.write_kv("audited/venue", token="first")
        bao.approle(tmp_path, policy="audited", rules='path "secret/*" { capabilities = ["read"] }')
        with process(vault, written(vault, vault.settings(database=False)), "prove"):
            await until((tmp_path / "published" / "manifest.json").exists)
    (tmp_path / "log").rename(tmp_path / "sidecar.log")
    query = subprocess.run(["bash", "-c", documented_join()], cwd=tmp_path, check=True, capture_output=True, text=True)
    found = [json.loads(line) for line in query.stdout.splitlines()]
    assert [item["path"] for item in found] == ["auth/approle/login", "secret/data/audited/venue"]
    said = [json.loads(line) for line in (tmp_path / "sidecar.log").read_text().splitlines()]
    ours = {item["request_id"]: item["event"] for item in said if "request_id" in item}
    assert [ours[item["id"]] for item in found] == ["secrets.login", "secrets.read"]
