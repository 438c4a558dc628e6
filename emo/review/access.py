"""Who may use the page: one-time tokens, a cookie for each browser, and requests of this page alone."""

import hmac
import secrets
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from emo.errors import InputError


@dataclass
class Access:
    """Tokens and sessions of one server.

    origin: where browsers reach it, such as `http://127.0.0.1:8700`; others that mean the same machine are
    in `also`. A token is good for one browser: it becomes a cookie, and the address is worth nothing then.
    """

    origin: str
    also: tuple[str, ...] = ()
    _tokens: dict[str, str] = field(default_factory=dict)
    _sessions: dict[str, str] = field(default_factory=dict)

    @property
    def cookie(self) -> str:
        """The name of the cookie; browsers give one host's cookies to all its ports."""
        parts = urlsplit(self.origin)
        return f"emo_review_{parts.port or parts.scheme}"

    @property
    def secure(self) -> bool:
        """Whether the cookie goes over TLS alone."""
        return self.origin.startswith("https://")

    def invite(self, reviewer: str) -> str:
        """An address that lets one browser in as this reviewer."""
        token = secrets.token_urlsafe(24)
        self._tokens[token] = reviewer
        return f"{self.origin}/?token={token}"

    def enter(self, token: str) -> str | None:
        """The value of a new session's cookie; None for a token that is none, or was used."""
        known = next((one for one in self._tokens if hmac.compare_digest(one.encode(), token.encode())), None)
        if known is None:
            return None
        session = secrets.token_urlsafe(32)
        self._sessions[session] = self._tokens.pop(known)
        return session

    def reviewer(self, session: str | None) -> str | None:
        """Whose session it is."""
        return self._sessions.get(session) if session else None

    def is_own_host(self, host: str | None) -> bool:
        """Whether a request was sent to this server by its own name: a name that somebody else made point
        here is none (DNS rebinding)."""
        return host in {urlsplit(one).netloc for one in (self.origin, *self.also)}

    def is_own_origin(self, origin: str | None) -> bool:
        """Whether a request that says where it comes from comes from this page."""
        return origin in (self.origin, *self.also)


LOOPBACK = ("127.0.0.1", "::1", "localhost")


def origin_of(host: str, port: int, tls: bool, proxy: str | None) -> str:
    """Where browsers reach a server that listens so; proxy: the address of a proxy before it.

    Raises InputError for an address other than loopback without TLS or a proxy.
    """
    if proxy is not None:
        parts = urlsplit(proxy)
        if parts.scheme != "https" or not parts.hostname or parts.path.strip("/") or parts.query:
            raise InputError(f"--behind {proxy!r}: expected the address of a proxy, as https://HOST[:PORT]")
        return f"https://{parts.netloc}"
    if host in ("0.0.0.0", "::"):
        raise InputError(f"--host {host}: give the one address that browsers type, or --behind with a proxy")
    if host not in LOOPBACK and not tls:
        raise InputError(
            f"--host {host}: others on the network would read along; give --tls-cert and --tls-key, or "
            "--behind https://HOST of a proxy that has TLS"
        )
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{shown}:{port}"
