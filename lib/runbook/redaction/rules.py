"""The forms by which a secret is known although its value is not: one table of named rules.

Each rule begins at a literal and removes what its groups named ``value…`` and ``bare`` hold. Repetitions are bounded,
or stop at what begins the next match, so that no text makes them slow. A group that is repeated and gives nothing back
stands in an atomic group: Python before 3.11.5 matches a possessive quantifier behind a group wrongly, where the group
can be left in two ways.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from runbook.redaction.spans import Span
from runbook.redaction.values import bare_value, looks_random, may_be_bare_secret, may_be_secret

# A quote as itself, escaped for JSON or repr up to twice, for HTML, for an address.
_ENTITY = r"&(?:amp;)?(?:quot|\#34|\#0?39|\#x27|apos);"
_QUOTE = rf"(?:\\{{0,7}}(?:[\"']|{_ENTITY})|%22|%27)"
# A value in quotes; one that was cut before its closing quote; and one without quotes.
_QUOTED = rf"""(?:"(?P<value_1>(?>(?:[^"\\\r\n]|\\.){{1,8192}}))"
    |'(?!')(?P<value_2>(?>(?:[^'\\\r\n]|\\.|''){{1,8192}}))'
    |(?P<quote>\\{{1,7}}["']|''|\\{{0,7}}{_ENTITY}|%22|%27)(?!(?P=quote))
     (?P<value_3>[^\r\n]{{1,8192}}?)(?<!\\)(?P=quote))"""
_CUT = rf"""\\{{0,7}}(?:["']|{_ENTITY})(?P<value_4>[^\s"'<>\\&][^\s"'<>]{{0,8191}}+)"""
_BARE = r"""(?P<bare>(?>(?:[^\s"'<>&;\\]|\\(?!\\{0,6}[nrtu"'])\S|&(?:amp|lt|gt);){1,2048}))"""
_SIGN = r"(?:=>|:=|={1,3}|:|%3[AaDd]|</th>\s{0,40}<td[^<>]{0,200}>)"

Judge = Callable[[re.Match[str], str], bool]


@dataclass(frozen=True)
class Rule:
    """What one kind of secret looks like.

    ``starts`` are the literals, in small letters, at which ``pattern`` begins; ``ahead`` is what must follow them for
    it to be tried at all. ``judge`` tells whether what was found may be a secret.
    """

    kind: str
    starts: tuple[str, ...]
    pattern: re.Pattern[str]
    ahead: str = ""
    judge: Judge = lambda match, value: may_be_secret(value)

    def spans(self, text: str, position: int) -> Iterator[Span]:
        """Yield what the rule removes where it matches at a position."""
        match = self.pattern.match(text, position)
        if match is None:
            return
        for name, value in match.groupdict().items():
            if value and name.startswith(("value", "bare")) and self.judge(match, value):
                start = match.start(name)
                yield Span(start, start + len(bare_value(value) if name == "bare" else value), self.kind)


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.VERBOSE | re.IGNORECASE)


def _token(kind: str, starts: str, text: str) -> Rule:
    """Return the rule for a token that is known by its first characters; case counts in it."""
    # Not inside a longer word: base64 and names may hold any few characters by chance.
    return Rule(kind, tuple(starts.split()), re.compile(rf"(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))(?P<value>{text})"))


def _assigned(kind: str, starts: str, suffix: str = "") -> Rule:
    """Return the rule for what is assigned to a name that ends with one of some words, in whatever notation."""
    names = "|".join(map(re.escape, starts.split()))
    pattern = (
        rf"(?:{names}){suffix}{_QUOTE}?\]?\s{{0,8}}(?P<sign>{_SIGN})(?P<space>\s{{0,8}})"
        rf"[bru]?(?:{_QUOTED}|{_CUT}|{_BARE})"
    )
    ahead = r"[\w-]{0,14}(?:\s{0,8}[=:]|[\"'\\&%\]]|</th)" if suffix else r"(?:\s{0,8}[=:]|[\"'\\&%\]]|</th)"
    return Rule(kind, tuple(starts.split()), _pattern(pattern), ahead, _is_assigned)


def _element(kind: str, starts: str) -> list[Rule]:
    """Return rules for an element of a list, as `docker inspect` shows the environment: up to the closing quote."""
    names = "|".join(map(re.escape, starts.split()))
    rules = []
    for quote in "\"'":
        pattern = _pattern(rf"(?:{names})(?!\s)(?P<value>(?>(?:[^\\\r\n{quote}]|\\.){{1,512}})){quote}")
        opened = re.compile(rf"{quote}\w*\Z")

        def is_element(match: re.Match[str], value: str, opened: re.Pattern[str] = opened) -> bool:
            return (
                may_be_secret(value)
                and opened.search(match.string[max(0, match.start() - 60) : match.start()]) is not None
            )

        rules.append(Rule(kind, tuple(starts.split()), pattern, judge=is_element))
    return rules


def _is_assigned(match: re.Match[str], value: str) -> bool:
    if match["bare"] is None:
        return may_be_secret(value)
    if not may_be_bare_secret(value):
        return False
    if (
        match["sign"] in ("=", "%3D", "%3d")
        and not match["space"]
        and not match.string[: match.start("sign")].endswith(" ")
    ):
        return not (value.startswith("/") and match[0].lower().startswith("pwd"))
    # With spaces, or after a colon, it may be prose or code, unless it is a line of its own.
    return (looks_random(bare_value(value)) and len(value) >= 6) or _is_line(match, value)


def _is_line(match: re.Match[str], value: str) -> bool:
    text = match.string
    before = re.search(
        r"(?:^|\n|\\n)[ \t>│|#-]{0,40}[\w.-]{0,60}[\"']?\Z", text[max(0, match.start() - 110) : match.start()]
    )
    after = re.compile(r"[ \t]{0,40}(?:\r?\n|\\{1,7}[rn]|\Z)").match(text, match.end("bare"))
    return before is not None and after is not None


def _is_basic(match: re.Match[str], value: str) -> bool:
    try:
        return ":" in base64.b64decode(value + "=" * (-len(value) % 4), validate=True).decode("latin-1")
    except (ValueError, binascii.Error):
        return False


def _is_of_curl(match: re.Match[str], value: str) -> bool:
    line = match.string[max(0, match.start() - 400) : match.start()]
    return re.search(r"\b(?:curl|wget|http)\b", line) is not None and may_be_secret(value)


_HEADER = rf"authorization{_QUOTE}?\s{{0,4}}[:=,]\s{{0,4}}b?{_QUOTE}?\s{{0,4}}"
_BASE64_LINES = r"(?:(?:[\s\"',>│|+]|\\{1,3}[nrt\"]){1,40}[A-Za-z0-9+/=]{16,}+)"

RULES: tuple[Rule, ...] = (
    _assigned("a password", "password passwd passphrase requirepass masterauth rediscli_auth"),
    _assigned("a password", "pwd pass"),
    _assigned("a secret", "secret", r"(?:[_-]?(?:access[_-]?)?key|[_-]?value)?"),
    _assigned("a token", "token"),
    _assigned(
        "a key",
        "api_key api-key apikey private_key private-key privatekey access_key access-key accesskey account_key"
        " accountkey signing_key signingkey encryption_key encryptionkey routing_key integration_key service_key"
        " auth_key authkey",
    ),
    *_element("a password", "password= passwd= passphrase= _pwd= _pass= rediscli_auth="),
    *_element("a secret", "secret= token= api_key= apikey= secret_key= access_key="),
    # An entry of a list of names and values, as Kubernetes writes a container's environment.
    Rule(
        "a secret",
        ("name",),
        _pattern(
            rf"""name{_QUOTE}?\s{{0,4}}:\s{{0,4}}{_QUOTE}?[\w.-]{{0,60}}?(?:password|passwd|passphrase|_pwd|secret|token|api_?key
            |(?:secret|access|private)_?key|rediscli_auth){_QUOTE}?\s{{0,4}},?(?:\s|\\{{1,7}}n){{0,60}}{_QUOTE}?value{_QUOTE}?\s{{0,4}}:\s{{0,4}}
            (?:{_QUOTED}|{_BARE})"""
        ),
        r"[\"'\\&]{0,4}[^:\r\n]{0,8}:.{0,70}?(?:pass|pwd|secret|token|key|auth)",
    ),
    Rule(
        "a password in an address",
        ("://", ":\\/\\/"),
        _pattern(
            r""":(?:\\?/){2}(?!\[redacted)[^\s:/@"'<>\[\]?\#]{0,64}+:(?!\d{1,5}(?:[/?\#\s"'<>,)]|$))
            (?:(?P<value_1>[^\s/@"'<>]{1,256}(?:@[^\s/@"'<>,;?]{1,256})?)(?=@)|(?P<value_2>[^\s@"'<>]{1,256}+)(?=@))"""
        ),
    ),
    Rule(
        "a password in an address",
        ("%3a%2f%2f",),
        _pattern(r"%3A%2F%2F[^\s:/@\"'<>%]{0,64}+%3A(?P<value>(?>(?:[^\s\"'<>&%]|%(?!40|2F)..){1,256}))(?=%40|@)"),
    ),
    Rule(
        "a password",
        ("password", "identified by"),
        _pattern(
            rf"""(?:password|identified\ by)(?:\s|\\[nrt]){{1,8}}
            (?:(?:E|U&)?{_QUOTED}|\$(?P<tag>\w{{0,20}})\$(?P<value_5>(?>(?:[^$]|\$(?!(?P=tag)\$)){{1,1024}}))\$(?P=tag)\$)"""
        ),
        r"(?:\s|\\[nrt]){1,8}(?:e|u&)?[\"'\\$&%]",
    ),
    Rule(
        "a password",
        ("--pass", "--token", "--secret", "--api-key", "--requirepass", "--auth"),
        _pattern(
            rf"--(?:pass(?:word|wd|phrase)?|token|secret|api-key|requirepass|auth(?:-token)?)\s{{1,4}}(?:{_QUOTED}|(?!-){_BARE})"
        ),
        r"[\w-]{0,12}\s",
        lambda match, value: may_be_secret(value) if match["bare"] is None else may_be_bare_secret(value),
    ),
    Rule(
        "a password",
        ("redis-cli", "sshpass", "mysql"),
        _pattern(
            rf"""(?:redis-cli\s[^\r\n]{{0,200}}?(?<=\s)-a\s{{1,4}}|sshpass\s{{1,4}}-p\s{{0,4}}|mysql(?:dump|admin)?\s[^\r\n]{{0,200}}?(?<=\s)-p)
            (?:{_QUOTED}|{_BARE})"""
        ),
        r"\S{0,5}\s",
        lambda match, value: may_be_secret(value) if match["bare"] is None else may_be_bare_secret(value),
    ),
    Rule(
        "a password",
        ("-u", "--user", "--proxy-user"),
        _pattern(
            rf"(?:(?<=\s)-u|--user|--proxy-user)[\s=]{{0,4}}{_QUOTE}?"
            r"[^\s:\"'/]{1,64}+:(?P<value>[^\s\"'\\/][^\s\"'\\]{0,1024}+)"
        ),
        r"[\s=\"'\w]",
        _is_of_curl,
    ),
    Rule(
        "a password",
        ("requirepass ", "masterauth ", "auth "),
        _pattern(r"(?:(?<![\w-])|(?<=\\n))(?:requirepass|masterauth|auth)\ " + _BARE),
        judge=lambda match, value: (
            may_be_bare_secret(value) and _is_line(match, value) and (match[0][0] in "rm" or looks_random(value))
        ),
    ),
    Rule(
        "a password hash",
        ("scram-sha-",),
        _pattern(r"(?P<value>scram-sha-(?:1|256|512)\$\d{1,9}+:[^\s\"'<>]{8,512}+)"),
    ),
    _token("a password hash", "md5", r"md5[0-9a-f]{32}(?![0-9A-Za-z])"),
    Rule(
        "a password hash",
        ("$2", "$argon2", "$1$", "$5$", "$6$", "$y$", "$scrypt$"),
        re.compile(
            r"(?P<value>\$2[abxy]?\$\d\d\$[./A-Za-z0-9]{22,53}|\$argon2(?:id|i|d)\$[^\s\"'<>]{8,512}+"
            r"|\$(?:[156y]|scrypt)\$[^\s\"'<>$]{1,64}+\$[^\s\"'<>:]{16,256}+)"
        ),
    ),
    Rule("a password hash", ("pbkdf2",), _pattern(r"(?P<value>pbkdf2[_:-]?sha\d{1,3}[$:][^\s\"'<>]{16,512}+)")),
    Rule(
        "a bearer token",
        ("authorization",),
        _pattern(_HEADER + r"bearer(?:\s|%20|\+){1,4}(?P<value>[^\s\"'\\<>,&]{1,8192}+)"),
        r"[\"'\\&#\w;]{0,8}\s{0,4}[:=,]",
    ),
    Rule(
        "a bearer token",
        ("bearer",),
        _pattern(r"bearer(?:\s|%20|\+){1,4}(?P<value>[A-Za-z0-9._~+/=-]{8,8192}+)"),
        r"[\s%+]",
        lambda match, value: looks_random(value),
    ),
    Rule(
        "credentials of basic authentication",
        ("authorization",),
        _pattern(_HEADER + r"basic(?:\s|%20|\+){1,4}(?P<value>[^\s\"'\\<>,&]{1,8192}+)"),
        r"[\"'\\&#\w;]{0,8}\s{0,4}[:=,]",
    ),
    Rule(
        "credentials of basic authentication",
        ("basic",),
        _pattern(r"basic(?:\s|%20|\+){1,4}(?P<value>[A-Za-z0-9+/_-]{6,4096}+={0,2})"),
        r"[\s%+]",
        _is_basic,
    ),
    Rule(
        "an authorization header",
        ("authorization",),
        _pattern(
            _HEADER
            + r"""(?:(?:token|api-?key|negotiate|ntlm|geniekey|splunk)\s{1,4}(?P<value_1>[^\s"'\\<>,&]{1,8192}+)
            |digest\s{1,4}(?P<value_2>[^\r\n'<>\\]{1,2048}+)
            |aws4-hmac-sha256\s{1,4}(?P<value_3>[^\r\n"'<>\\]{1,2048}+)
            |(?!bearer|basic)(?P<value_4>(?=[^\s"'\\<>,&]{0,200}\d)[^\s"'\\<>,&]{8,8192}+))"""
        ),
        r"[\"'\\&#\w;]{0,8}\s{0,4}[:=,]",
    ),
    Rule(
        "a token",
        ("x-auth", "x-api", "x-vault", "private-token", "x-csrf", "x-amz-security"),
        _pattern(rf"[\w-]{{6,40}}+{_QUOTE}?\s{{0,4}}:\s{{0,4}}b?{_QUOTE}?(?P<value>[^\s\"'\\<>,&]{{6,8192}}+)"),
        r"[\w-]{0,30}[\"'\\&#\w;]{0,8}\s{0,4}:",
    ),
    Rule(
        "a cookie",
        ("cookie",),
        _pattern(
            rf"cookies?{_QUOTE}?\s{{0,4}}[:,]\s{{0,4}}b?{_QUOTE}?\s?(?P<value>[\w.%-]{{1,128}}+=[^\r\n\"'\\<>]{{1,2048}}+)"
        ),
        r"s?[\"'\\&#\w;]{0,8}\s{0,4}[:,]",
    ),
    Rule("a cookie", ("<cookie ",), _pattern(r"<cookie\ [^\s=]{1,128}+=(?P<value>[^\s>]{1,4096}+)")),
    _token("a signed token", "eyj", r"eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{4,}+(?:\.[A-Za-z0-9_-]*+)?"),
    _token("a confirmation token", "tok_", r"tok_[abcdefghjkmnpqrstuvwxyz23456789]{20}(?![a-z0-9])"),
    _token("a cloud key", "akia asia", r"(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _token("a cloud key", "aiza gocspx-", r"AIza[\w-]{35}|GOCSPX-[\w-]{20,}+"),
    _token("a token", "ghp_ gho_ ghu_ ghs_ ghr_", r"gh[pousr]_[A-Za-z0-9]{20,}+"),
    _token("a token", "github_pat_", r"github_pat_\w{20,}+"),
    _token("a token", "glpat- glrt- gldt-", r"gl(?:pat|rt|dt)-[\w-]{16,}+"),
    _token(
        "a token", "xoxa- xoxb- xoxe- xoxe. xoxo- xoxp- xoxr- xoxs- xapp-", r"(?:xox[abeoprs]|xapp)[.-][\w.-]{10,}+"
    ),
    _token(
        "an API key", "sk_live_ sk_test_ rk_live_ rk_test_ whsec_", r"(?:[sr]k_(?:live|test)|whsec)_[A-Za-z0-9]{10,}+"
    ),
    Rule(
        "an API key",
        ("sk-",),
        re.compile(r"(?<![\w-])(?P<value>sk-(?:[a-z]{2,12}-)?[A-Za-z0-9_-]{16,}+)"),
        judge=lambda match, value: any(map(str.isdigit, value)) and any(map(str.isupper, value)),
    ),
    _token("an API key", "sg.", r"SG\.[\w-]{16,}+\.[\w-]{16,}+"),
    _token("an API key", "npm_ dop_v1_ hvs. glsa_ pypi-ag", r"(?:npm_|dop_v1_|hvs\.|glsa_|pypi-Ag)[\w-]{20,}+"),
    Rule("a cloud key", ("age-secret-key-1",), _pattern(r"(?P<value>age-secret-key-1[a-z0-9]{30,}+)")),
    Rule(
        "a cloud key",
        ("?sig=", "&sig=", ";sig="),
        _pattern(r"[?&;]sig=(?P<value>[^\s&\"'<>]{16,256}+)"),
    ),
    Rule(
        "a webhook",
        (
            "hooks.slack.com",
            "discord.com",
            "discordapp.com",
            "webhook.office.com",
            "events.pagerduty.com",
            "api.telegram.org",
        ),
        _pattern(
            r"""(?:hooks\.slack\.com|discord(?:app)?\.com|webhook\.office\.com|events\.pagerduty\.com|api\.telegram\.org)
            (?:\\?/|%2F)(?>(?:(?:services|workflows|triggers|api|webhooks|webhookb2|integration)(?:\\?/|%2F)){0,2})
            (?P<value>(?!v2|enqueue|generic)[^\s"'<>?]{12,512}+)"""
        ),
        r"\\?(?:/|%2f)",
    ),
    Rule(
        "a private key",
        ("-----begin",),
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
            r"(?:(?P<value_1>[^-]*+(?>(?:-(?!----)[^-]*+)*))-----END [A-Z0-9 ]{0,40}PRIVATE KEY"
            rf"|(?P<value_2>(?>{_BASE64_LINES}*)))"
        ),
    ),
)

# Documents of Kubernetes: a Secret's values stand under `data` and `stringData`, in any order beside its kind.
_IS_SECRET = re.compile(r"kind(?:\\{0,3}[\"']|&quot;)?\s{0,4}:\s{0,4}(?:\\{0,3}[\"']|&quot;)?Secret(?:List)?(?![\w-])")
_LINE = re.compile(r"(?P<line>(?>(?:(?!\\{1,3}n)[^\r\n])*))(?:\r?\n|\\{1,3}n|\Z)")
_MAP = re.compile(r"(?P<indent>[ \t]*)(?:- )?(?:data|stringData):[ \t]*(?P<flow>\{[^{}]*\})?[ \t]*\Z")
_ENTRY = re.compile(r"(?P<indent>[ \t]*)(?:[\w./-]+|[\"'][^\"']*[\"']):[ \t]+(?P<value>[^\s|>].*?)[ \t]*\Z")
_OBJECT = re.compile(r"(\\{0,3}[\"']|&quot;)(?:data|stringData)\1\s{0,8}:\s{0,8}\{(?P<body>[^{}]*+)\}")
_PAIR = re.compile(r"(\\{0,3}[\"']|&quot;)[\w./-]{1,253}\1\s{0,8}:\s{0,8}\1(?P<value>(?:(?!\1)[^\r\n]){1,65536})\1")
KUBERNETES = "a value of a Kubernetes secret"


def kubernetes_spans(text: str) -> Iterator[Span]:
    """Yield the values of Kubernetes secrets in a text that holds such documents, as YAML or as JSON."""
    if "Secret" not in text or _IS_SECRET.search(text) is None:
        return
    for found in _OBJECT.finditer(text):
        for pair in _PAIR.finditer(text, found.start("body"), found.end("body")):
            yield Span(*pair.span("value"), KUBERNETES)
    yield from _of_yaml(text)


def _of_yaml(text: str) -> Iterator[Span]:
    inside: int | None = None
    position = 0
    while position < len(text):
        found = _LINE.match(text, position)
        if found is None or found.end() == position:
            return
        start, line = found.start("line"), found["line"]
        position = found.end()
        content = line.lstrip(" \t'\"(")
        indent = len(line) - len(line.lstrip())
        opened = _MAP.match(line)
        if opened:
            inside = len(opened["indent"]) + (2 if line.lstrip().startswith("- ") else 0)
            if opened["flow"]:
                yield Span(start + opened.start("flow") + 1, start + opened.end("flow") - 1, KUBERNETES)
        elif inside is not None and content and indent <= inside:
            inside = None
        elif inside is not None and content:
            entry = _ENTRY.match(line)
            if entry and may_be_secret(entry["value"]):
                yield Span(start + entry.start("value"), start + entry.end("value"), KUBERNETES)
            elif not entry and not line.rstrip().endswith((":", "|", ">", "|-", ">-", "|+")):
                # A line of a block of text.
                yield Span(start + indent, start + len(line.rstrip()), KUBERNETES)
