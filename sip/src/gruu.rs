//! Public GRUUs (RFC 5627): URIs that stand for one terminal of an account, wherever it has registered.
//!
//! They are made from the address of record and what the terminal calls itself, and nothing is kept of
//! them: whoever has both can write one, which is as it is meant (RFC 5627 §5.4).

use crate::message::{MAX_KEPT_VALUE, Uri, lossy, unescaped};

/// The option tag of who asks for them.
pub(crate) const OPTION: &str = "gruu";

/// The public GRUU of an instance, its name as it stands in `+sip.instance`. `None` where it would grow
/// too long, or cannot stand between quotes.
pub(crate) fn public(aor: &Uri, instance: &str) -> Option<String> {
    let (user, host) = (lossy(aor.user()?), aor.host()?);
    let port = aor.port().map(|port| format!(":{port}"));
    let port = port.unwrap_or_default();
    let instance = escaped(without_brackets(instance));
    let gruu = format!("sip:{user}@{host}{port};gr={instance}");
    let fits = gruu.len() <= MAX_KEPT_VALUE && !gruu.contains(['"', '\\']);
    fits.then_some(gruu)
}

/// The account that a GRUU belongs to; `None` for any other URI.
pub(crate) fn account(uri: &Uri) -> Option<String> {
    let user = uri.decoded_user().filter(|_| is(uri))?;
    String::from_utf8(user).ok()
}

/// Whether a URI is a GRUU, of whichever registrar.
pub(crate) fn is(uri: &Uri) -> bool {
    uri.params().is_some_and(|params| params.contains("gr"))
}

/// What the terminal calls itself that a public GRUU stands for, without brackets.
pub(crate) fn instance(uri: &Uri) -> Option<String> {
    unescaped(uri.params()?.value("gr")?)
}

/// The name of an instance without the angle brackets around it.
pub(crate) fn without_brackets(instance: &str) -> &str {
    let inner = instance
        .strip_prefix('<')
        .and_then(|rest| rest.strip_suffix('>'));
    inner.unwrap_or(instance)
}

/// What may stand in a parameter of a URI (RFC 3261 §25.1).
fn escaped(instance: &str) -> String {
    let mut escaped = String::with_capacity(instance.len());
    for byte in instance.bytes() {
        match byte {
            b if b.is_ascii_alphanumeric() || b"-_.!~*'():".contains(&b) => {
                escaped.push(char::from(b));
            }
            b => escaped.push_str(&format!("%{b:02X}")),
        }
    }
    escaped
}
