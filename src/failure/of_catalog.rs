//! What the errors of Operator catalogs become.

use bundler::catalog::CatalogError;
use bundler::catalog::select::Fault;
use bundler::catalog::store::StoreError;
use bundler::origin::OriginError;
use bundler::release::image::ReadError;
use format_spec::head::ContentClass;
use registry::client::{ClientError, ErrorKind as WireKind};

use super::causes::{cause, of_wire};
use super::{Failure, Kind};

/// The exit code's bit of catalogs.
const OPERATORS: Kind = Kind::Content(ContentClass::Operator.exit_bit());

impl Failure {
    /// A catalog that cannot be read, by the name that it was asked for with.
    pub fn of_catalog(name: &str, error: &CatalogError) -> Self {
        let wire = error.kind();
        let (kind, file) = match error {
            CatalogError::Write(io) | CatalogError::Store(StoreError::Io(io)) => {
                (Kind::of_io(io, Kind::Failed), Some(io))
            }
            CatalogError::Store(StoreError::Damaged(_)) => (Kind::Damaged, None),
            CatalogError::Store(StoreError::Place) | CatalogError::Task(_) => (Kind::Failed, None),
            _ => (of_wire(wire, OPERATORS), None),
        };
        let mut failure = Self::of(kind, error);
        failure.error = format!("catalog `{name}`: {}", failure.error);
        failure = failure.hinted(file, error.hint());
        if failure.hints.is_empty() {
            let client = cause::<ClientError>(error).and_then(ClientError::hint);
            failure.hints.push(client.unwrap_or_else(|| next(error, wire).to_owned()));
        }
        failure
    }
}

/// The next step where nothing nearer knows one.
fn next(error: &CatalogError, wire: Option<WireKind>) -> &'static str {
    match (error, wire) {
        (CatalogError::Write(_), _) => "name a directory for it: `--workspace DIR`",
        (CatalogError::Store(_) | CatalogError::Task(_), _) => "run the same command again",
        (_, Some(WireKind::NotFound)) => {
            "look at host, repository and tag; `bundle list operators --catalogs --version X.Y` names the catalogs of a release"
        }
        (_, Some(WireKind::Damaged)) => {
            "run the same command again; if it fails again, the catalog is damaged where it comes from"
        }
        (
            CatalogError::Origin(OriginError::Layout(_))
            | CatalogError::Read(ReadError::Origin(OriginError::Layout(_))),
            _,
        ) => {
            "name the directory of an OCI image layout with the whole catalog, as `skopeo copy --all docker://IMAGE oci:DIR` \
             makes one: `oci://DIR`, or `oci://DIR:NAME` for one of several images"
        }
        _ => "whoever publishes it has to mend it; take another version of it meanwhile",
    }
}

impl From<&Fault> for Failure {
    fn from(fault: &Fault) -> Self {
        let mut failure = Self::of(OPERATORS, fault);
        failure.hints.extend(fault.hints());
        failure
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_catalog_that_cannot_be_read_has_a_code_and_a_next_step() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        for (error, exit, hint) in [
            (CatalogError::Write(denied()), 73, "`--workspace DIR`"),
            (CatalogError::Write(io::Error::other("x")), 1, "`--workspace DIR`"),
            (StoreError::Io(io::Error::other("x")).into(), 1, "run the same command again"),
            (StoreError::Damaged("w".into()).into(), 65, "run the command again"),
            (CatalogError::NoCatalog, 4, "additionalImages"),
            (CatalogError::Database("/db".into()), 4, "`opm migrate IMAGE DIR`"),
            (CatalogError::TooMuch("more files"), 4, "whoever publishes it"),
        ] {
            let failure = Failure::of_catalog("host/index:v1", &error);
            assert_eq!(failure.kind.exit(), exit, "{error}");
            assert!(failure.error.starts_with("catalog `host/index:v1`: "), "{}", failure.error);
            assert!(failure.hints.iter().any(|told| told.contains(hint)), "{:?}", failure.hints);
        }
    }
}
