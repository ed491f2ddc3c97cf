//! The question whether a repository takes an upload: one is opened and cancelled, nothing is sent.
//!
//! In: a repository. Out: nothing, or the registry's refusal. There is no other way to ask: what may be read
//! says nothing of writing, and a registry that wants a repository to be made first shows it here.

use format_spec::Repository;

use super::product::Product;
use super::push::{Opened, abandon, open};
use super::token::Scopes;
use super::{Client, ClientError};
use crate::reference::RegistryHost;

impl Client {
    /// Opens an upload and cancels it. A registry that does not cancel lets it expire.
    pub async fn try_upload(
        &self,
        host: &RegistryHost,
        repository: &Repository,
    ) -> Result<(), ClientError> {
        let run = async {
            let session = self.core.session(host, false).await?;
            let scopes = Scopes::push(repository);
            if let Opened::At(upload) =
                open(&self.core, &session, &scopes, repository, None).await?
            {
                abandon(&self.core, &session, &scopes, &upload).await;
            }
            Ok(())
        };
        run.await
            .map_err(|failed| ClientError::new("push to", format!("{host}/{repository}"), failed))
    }

    /// Which registry this is, as far as it shows.
    pub async fn product(&self, host: &RegistryHost) -> Result<Product, ClientError> {
        match self.core.session(host, false).await {
            Ok(session) => Ok(session.product()),
            Err(failed) => Err(ClientError::new("reach registry", host.to_string(), failed)),
        }
    }
}
