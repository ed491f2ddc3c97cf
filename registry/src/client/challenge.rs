//! The `WWW-Authenticate` header (RFC 9110 section 11) and the rule who may see credentials.
//!
//! In: header text and URLs from a registry that may lie. Out: a challenge, and the decision whether
//! its token server gets credentials (CVE-2020-15157: an attacker's realm received them).

use url::Url;

/// How a registry wants to be spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer(Bearer),
}

/// A token server and what it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bearer {
    pub(super) realm: String,
    pub(super) service: Option<String>,
    pub(super) scope: Option<String>,
}

/// The strongest challenge that is understood: bearer before basic.
pub(super) fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let mut basic = None;
    for header in headers {
        for (scheme, parameters) in parse(header) {
            if scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            } else if scheme.eq_ignore_ascii_case("bearer") {
                let take = |name: &str| {
                    parameters
                        .iter()
                        .find(|(key, _)| key.eq_ignore_ascii_case(name))
                        .map(|(_, value)| value.clone())
                };
                if let Some(realm) = take("realm") {
                    let (service, scope) = (take("service"), take("scope"));
                    return Some(Challenge::Bearer(Bearer { realm, service, scope }));
                }
            }
        }
    }
    basic
}

pub(super) type Parameters = Vec<(String, String)>;

/// All challenges of one header. Anything that is not understood ends the list: a challenge is used
/// whole or not at all.
pub(super) fn parse(header: &str) -> Vec<(String, Parameters)> {
    let mut found: Vec<(String, Parameters)> = Vec::new();
    let mut rest = header.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() && found.len() < 16 {
        let Some((word, after)) = token(rest) else { break };
        let spaced = after.trim_start_matches([' ', '\t']);
        let value = spaced.strip_prefix('=').map(|v| v.trim_start_matches([' ', '\t']));
        match (value, found.last_mut()) {
            // `name=value`: a parameter of the challenge before it.
            (Some(value), Some((_, parameters))) => {
                let Some((text, after)) = quoted(value)
                    .or_else(|| token(value).map(|(text, after)| (text.to_owned(), after)))
                else {
                    break;
                };
                parameters.push((word.to_owned(), text));
                rest = after;
            }
            (Some(_), None) => break,
            // A word alone: a scheme begins.
            (None, _) => {
                found.push((word.to_owned(), Vec::new()));
                rest = after;
            }
        }
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    found
}

fn token(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/:".contains(c)))
        .unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let body = text.strip_prefix('"')?;
    let mut out = String::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, &body[at + 1..])),
            '\\' => out.push(chars.next()?.1),
            c => out.push(c),
        }
    }
    None
}

/// What a token server may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RealmRule {
    /// Credentials, if there are any.
    Credentials,
    /// Only a request without credentials.
    Anonymous,
    /// Nothing at all, and why.
    Refuse(&'static str),
}

/// Decides what the token server at `realm` gets for the registry at `registry`. `trusted` holds hosts
/// that the person named; `verified` says that the registry's own TLS was checked.
///
/// The distribution token specification lets a registry name any realm, and containers/image sends the
/// credentials to every one. Here they go
///
/// - over https to the registry's own host, on any port: GitLab's registry is at port 5050 and its token
///   server at 443. A registry that is after the credentials need not name another port, it need only
///   ask for `Basic`;
/// - over https to the same site (`auth.docker.io` for `registry-1.docker.io`, `gitlab.com` for
///   `registry.gitlab.com`), if the registry proved by TLS who it is;
/// - over https to hosts that the person named;
/// - by plain HTTP to the same host only (loopback names are one host), and only if the registry itself
///   is spoken to by plain HTTP: whoever listens there hears the credentials anyway.
///
/// Every other https realm is asked for an anonymous token. Every other plain HTTP realm is not asked at
/// all: whoever answers there could also hand out a token of theirs.
pub(super) fn realm_rule(
    registry: &Url,
    verified: bool,
    realm: &Url,
    trusted: &[String],
) -> RealmRule {
    let (Some(registry_host), Some(realm_host)) = (registry.host_str(), realm.host_str()) else {
        return RealmRule::Refuse("its address has no host");
    };
    if !realm.username().is_empty() || realm.password().is_some() {
        return RealmRule::Refuse("its address carries a user name");
    }
    let same_host = registry_host == realm_host;
    let local = |host: &str| crate::reference::is_loopback_name(host);
    match (registry.scheme(), realm.scheme()) {
        // The registry itself is spoken to in the clear, by the person's choice: nothing to lose at
        // the same host.
        ("http", "http") if same_host || (local(registry_host) && local(realm_host)) => {
            RealmRule::Credentials
        }
        ("http", "http") => RealmRule::Refuse("credentials would go to another host by plain HTTP"),
        (_, "http") => RealmRule::Refuse(
            "credentials would go there by plain HTTP, and the registry itself is reached by https",
        ),
        (_, "https") if same_host => RealmRule::Credentials,
        (_, "https") if trusted.iter().any(|host| host.eq_ignore_ascii_case(realm_host)) => {
            RealmRule::Credentials
        }
        ("https", "https") if verified && same_site(registry_host, realm_host) => {
            RealmRule::Credentials
        }
        (_, "https") => RealmRule::Anonymous,
        _ => RealmRule::Refuse("it is reached neither by https nor by http"),
    }
}

/// Whether two names belong to one registered domain: the last two labels are equal, or the last three
/// below endings such as `co.uk`, where anybody can register the third.
fn same_site(a: &str, b: &str) -> bool {
    fn site(host: &str) -> Option<String> {
        if host.parse::<std::net::IpAddr>().is_ok() || host.starts_with('[') {
            return None;
        }
        let labels: Vec<&str> = host.trim_end_matches('.').split('.').collect();
        let [.., second, last] = labels.as_slice() else { return None };
        let wide = last.len() == 2 && second.len() <= 3;
        let count = if wide { 3 } else { 2 };
        let from = labels.len().checked_sub(count)?;
        Some(labels[from..].join("."))
    }
    site(a).is_some_and(|site_a| site(b).is_some_and(|site_b| site_a == site_b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer(Bearer {
            realm: realm.into(),
            service: service.map(Into::into),
            scope: scope.map(Into::into),
        }))
    }

    #[test]
    fn real_headers_parse() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/redis:pull,push""#;
        assert_eq!(
            choose([hub].into_iter()),
            bearer(
                "https://auth.docker.io/token",
                Some("registry.docker.io"),
                Some("repository:library/redis:pull,push")
            )
        );
        assert_eq!(choose([r#"Basic realm="x, y""#].into_iter()), Some(Challenge::Basic));
        let both = r#"Basic realm="a", bearer Realm = "https://t/" , error="invalid_token""#;
        assert_eq!(choose([both].into_iter()), bearer("https://t/", None, None));
        let two = ["Basic realm=x", r#"Bearer realm="https://t/",service="a \"b\"""#];
        assert_eq!(choose(two.into_iter()), bearer("https://t/", Some("a \"b\""), None));
        assert_eq!(choose(["BASIC"].into_iter()), Some(Challenge::Basic));
    }

    #[test]
    fn broken_headers_give_nothing() {
        for header in ["", "Negotiate", "Bearer", r#"Bearer realm="open"#, "=x", "Bearer service=x"]
        {
            assert_eq!(choose([header].into_iter()), None, "{header}");
        }
    }

    fn rule(registry: &str, realm: &str) -> RealmRule {
        let trusted = ["sso.example.org".to_owned()];
        realm_rule(&registry.parse().unwrap(), true, &realm.parse().unwrap(), &trusted)
    }

    #[test]
    fn credentials_stay_with_the_registry() {
        use RealmRule::*;
        for (registry, realm, expected) in [
            ("https://registry-1.docker.io/", "https://auth.docker.io/token", Credentials),
            ("https://registry.gitlab.com/", "https://gitlab.com/jwt/auth", Credentials),
            ("https://quay.io/", "https://quay.io/v2/auth", Credentials),
            ("https://quay.io/", "https://quay.io:8443/v2/auth", Credentials),
            ("https://gitlab.lan:5050/", "https://gitlab.lan/jwt/auth", Credentials),
            ("https://harbor.lan/", "https://harbor.lan/service/token", Credentials),
            ("https://quay.io/", "https://evil.io/token", Anonymous),
            ("https://quay.io/", "https://quay.io.evil.io/token", Anonymous),
            ("https://a.co.uk/", "https://b.co.uk/token", Anonymous),
            ("https://x.a.co.uk/", "https://y.a.co.uk/token", Credentials),
            ("https://10.0.0.1/", "https://11.0.0.1/token", Anonymous),
            ("https://quay.io/", "https://sso.example.org/token", Credentials),
            ("https://quay.io/", "http://quay.io/token", Refuse("")),
            ("https://quay.io/", "http://quay.io:8080/token", Refuse("")),
            ("https://quay.io/", "http://localhost/token", Refuse("")),
            ("https://quay.io/", "http://sso.example.org/token", Refuse("")),
            ("https://localhost:5000/", "http://localhost:5001/token", Refuse("")),
            ("https://quay.io/", "https://user@quay.io/token", Refuse("")),
            ("https://quay.io/", "file:///etc/passwd", Refuse("")),
            ("http://localhost:5000/", "http://localhost:5001/token", Credentials),
            ("http://localhost:5000/", "http://10.0.0.1/token", Refuse("")),
            ("http://reg.lan/", "http://reg.lan:8080/token", Credentials),
            ("http://reg.lan/", "http://auth.reg.lan/token", Refuse("")),
            ("http://reg.lan/", "http://sso.example.org/token", Refuse("")),
            ("http://reg.lan/", "http://localhost/token", Refuse("")),
            ("http://reg.lan/", "https://auth.lan/token", Anonymous),
        ] {
            let found = match rule(registry, realm) {
                // Which words explain it does not matter here.
                Refuse(_) => Refuse(""),
                other => other,
            };
            assert_eq!(found, expected, "{registry} -> {realm}");
        }
    }

    #[test]
    fn an_unverified_registry_cannot_name_a_sister_host() {
        let (registry, realm) = ("https://r.lan.io/".parse(), "https://auth.lan.io/".parse());
        let answer = realm_rule(&registry.unwrap(), false, &realm.unwrap(), &[]);
        assert_eq!(answer, RealmRule::Anonymous);
    }

    proptest! {
        #[test]
        fn nothing_panics(header in "\\PC{0,120}") {
            let _ = choose([header.as_str()].into_iter());
        }

        #[test]
        fn what_is_quoted_comes_back(realm in "[ -~]{1,40}", service in "[ -~]{0,40}") {
            let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
            let header = format!(
                "Bearer realm=\"{}\", service=\"{}\"", quote(&realm), quote(&service)
            );
            prop_assert_eq!(
                choose([header.as_str()].into_iter()),
                bearer(&realm, Some(&service), None)
            );
        }
    }
}
