//! What can go wrong with the object store, by what a person has to mend.
//!
//! In: errors of `object_store`. Out: one of few faults. What must hold: no text of a request that may carry a
//! signature; keys of objects are no secret.

use object_store::Error;

/// A fault of the object store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectsError {
    /// It is away, overloaded, or broke off.
    #[error("the object store does not answer as it should: {what}: {detail}")]
    Unavailable {
        /// What was tried.
        what: String,
        /// What came of it.
        detail: String,
    },
    /// It refuses the credentials.
    #[error("the object store refuses the credentials: {what}: {detail}")]
    Refused {
        /// What was tried.
        what: String,
        /// What it says.
        detail: String,
    },
    /// No such bucket.
    #[error("the bucket `{bucket}` does not exist at `{endpoint}`")]
    NoBucket {
        /// Its name.
        bucket: String,
        /// Where it was looked for.
        endpoint: String,
    },
    /// The settings cannot be used.
    #[error("`[objects]` in registry.toml: {0}")]
    Settings(String),
    /// The bucket holds something else or is of another version.
    #[error("the bucket holds a registry of another version: `{0}`")]
    Version(String),
    /// The store does not do what several replicas need.
    #[error("the object store cannot be used: {0}")]
    Unfit(String),
    /// What is stored is not what was stored.
    #[error("the object `{key}` is damaged: {detail}")]
    Damaged {
        /// Its key.
        key: String,
        /// What is wrong.
        detail: String,
    },
}

/// What stores say of an access key that they do not know, whatever the status.
const ACCOUNTS: [&str; 2] = ["InvalidAccessKeyId", "XAdminUserNotFound"];

impl ObjectsError {
    /// The fault that an error stands for.
    pub(super) fn of(what: String, error: &Error) -> Self {
        let detail = words(error);
        match error {
            Error::Unauthenticated { .. } | Error::PermissionDenied { .. } => {
                Self::Refused { what, detail }
            }
            _ if code(error).is_some_and(|code| ACCOUNTS.contains(&code.as_str())) => {
                Self::Refused { what, detail }
            }
            _ => Self::Unavailable { what, detail },
        }
    }
}

/// The code in the answer of the store; none when it gave no such answer.
pub(super) fn code(error: &Error) -> Option<String> {
    element(&innermost(error), "Code")
}

fn innermost(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(current) = cause {
        text = current.to_string();
        cause = current.source();
    }
    text
}

fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once('<')?.0.to_owned())
}

/// The last cause; of an answer in XML its code and message only: stores put what was signed into it.
fn words(error: &Error) -> String {
    let mut text = innermost(error);
    if let Some(start) = text.find('<') {
        let told = ["Code", "Message"].into_iter().filter_map(|name| element(&text, name));
        let told: Vec<String> = told.collect();
        text = format!("{}{}", &text[..start], told.join(": "));
    }
    let text = text.trim_end_matches([':', ' ']);
    text.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_signed_is_not_repeated() {
        let xml = "403 Forbidden: <?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code>\
                   <Message>no match</Message><StringToSign>AWS4-HMAC s3cret</StringToSign></Error>";
        let source = Box::new(std::io::Error::other(xml));
        let error = Error::PermissionDenied { path: "k".to_owned(), source };
        let told = ObjectsError::of("reading `k`".to_owned(), &error).to_string();
        assert_eq!(
            told,
            "the object store refuses the credentials: reading `k`: 403 Forbidden: SignatureDoesNotMatch: no match"
        );
    }
}
