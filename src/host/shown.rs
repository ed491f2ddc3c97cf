//! The certificate that a registry shows, judged as its clients do.
//!
//! In: the data directory and its settings. Out: what is wrong with the files, and what a refused handshake means. What must
//! hold: a restart is advised only where it helps; a registry that still shows a good certificate would not start again
//! with a file that is of no use.

use std::path::{Path, PathBuf};

use registry::server::Settings;
use registry::server::certificate::{self, CertificateError, Described};
use registry::server::probe::ProbeError;

use crate::output::plain;
use crate::typed::quoted;

/// The files of a certificate.
pub struct Shown {
    /// What the certificate says.
    pub about: Result<Described, String>,
    /// Why clients refuse it, or the registry would.
    refused: Option<CertificateError>,
    file: PathBuf,
    data: PathBuf,
    /// Whether somebody brought it.
    brought: bool,
}

impl Shown {
    /// Looks at the files.
    pub fn of(data: &Path, settings: &Settings) -> Self {
        let directory = certificate::directory(data);
        let own = (directory.join(certificate::SERVER), directory.join(certificate::SERVER_KEY));
        let pair = settings.tls.pair(data);
        let brought = pair.is_some();
        let (file, key) = pair.unwrap_or(own);
        let names = if settings.tls.any_name { Vec::new() } else { settings.names() };
        let about = certificate::describe(&file).map_err(|error| error.to_string());
        // One of our own is made at the first start.
        let refused = (brought || about.is_ok())
            .then(|| certificate::check(&file, &key, &names).err())
            .flatten();
        Self { about, refused, file, data: data.to_owned(), brought }
    }

    /// What is wrong with the files, with what to do.
    pub fn faults(&self) -> Option<String> {
        let soon = self.about.as_ref().ok().filter(|about| about.ends_soon());
        match (&self.refused, soon) {
            (Some(error), _) => Some(format!("{}: {}", plain(&error.to_string()), self.mend())),
            (None, Some(about)) => {
                Some(format!("its certificate ends in {} days: {}", about.days_left, self.mend()))
            }
            (None, None) => None,
        }
    }

    /// What an answer that did not come means, with what helps.
    pub fn advice(&self, error: &ProbeError) -> Option<String> {
        let words = plain(&error.to_string());
        Some(match error {
            // Said of the file already.
            ProbeError::Tls { .. } if self.refused.is_some() && !self.brought => return None,
            ProbeError::Tls { .. } if self.refused.is_some() => {
                // The file says what is wrong; what is shown is another one.
                "it shows another certificate than the file, the one from before: leave it running until the file is mended"
                    .to_owned()
            }
            ProbeError::Tls { .. } => format!(
                "it shows another certificate than `{}` ({words}): a changed file is taken within seconds, else its log says \
                 why; a restart takes it too",
                plain(&self.file.display().to_string())
            ),
            ProbeError::File { .. } => format!("{words}: mend that file"),
            _ => format!("its process runs and does not serve: {words}: restart it"),
        })
    }

    /// How it gets a good certificate.
    fn mend(&self) -> String {
        match self.brought {
            true => {
                let hint = self.refused.as_ref().and_then(CertificateError::hint);
                let hint = hint.map(|hint| format!("{hint}; ")).unwrap_or_default();
                format!(
                    "{hint}write the new one over `{}`, and its key: it is taken within seconds, without a restart",
                    plain(&self.file.display().to_string())
                )
            }
            false => format!(
                "`bundle registry rotate-cert --data-dir {}` makes a new one, which is taken within seconds",
                quoted(&self.data.display().to_string())
            ),
        }
    }
}
