//! What stands behind an error: the fault of a registry, wherever it is in the chain.

use std::error::Error;
use std::io;

use registry::client::ErrorKind as WireKind;

use super::Kind;

/// What stands behind an error, if it is one of these kinds.
pub fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        // An error of the system that holds another one does not name it as its source.
        let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match held {
            Some(held) => Some(held),
            None => error.source(),
        };
    }
    None
}

/// What a registry's fault is; `content` where it is none of its own kind, as an image that is not there.
pub fn of_wire(kind: Option<WireKind>, content: Kind) -> Kind {
    match kind {
        Some(WireKind::Credentials) => Kind::Credentials,
        Some(WireKind::Unavailable | WireKind::Tls) => Kind::Unavailable,
        Some(WireKind::Damaged) => Kind::Damaged,
        Some(WireKind::Config) => Kind::Usage,
        Some(WireKind::Full) => Kind::NoSpace,
        _ => content,
    }
}
