//! Neighbors that come, change and go.

use super::Handle;
use super::neighbors::UnknownNeighbor;
use crate::bfd::OpenError;
use crate::config::Neighbor;
use crate::driver::{Driver, Pending};
use crate::speaker::BindError;

/// A change of the neighbors could not be made; nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is one of this name already.
    #[error("there is a neighbor called {0} already")]
    NameTaken(String),
    /// There is none of this name.
    #[error(transparent)]
    Unknown(#[from] UnknownNeighbor),
    /// A socket that it needs cannot be opened, or the kernel does not take its secret.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The speaker has ended.
    #[error("the daemon is stopping")]
    Ended,
}

impl From<OpenError> for ChangeError {
    fn from(error: OpenError) -> Self {
        Self::Bind(error.into())
    }
}

impl Handle {
    /// Adds a neighbor and starts its session; the sessions of others notice nothing.
    ///
    /// # Errors
    /// Why it cannot be added.
    pub async fn add_neighbor(&self, neighbor: Neighbor) -> Result<(), ChangeError> {
        let name = neighbor.name.clone();
        let added = self.change(move |driver| driver.add_neighbor(neighbor)).await;
        if let Err(ChangeError::Bind(BindError::Bfd { .. })) = &added {
            // It is there, but nobody would notice by BFD when it dies.
            let _ = self.remove_neighbor(&name).await;
        }
        added
    }

    /// Removes a neighbor: it is sent the withdrawal of all that it was told, then a Cease, Peer
    /// De-configured (RFC 4486 §4).
    ///
    /// # Errors
    /// There is none of this name.
    pub async fn remove_neighbor(&self, name: &str) -> Result<(), ChangeError> {
        let name = name.to_owned();
        self.change(move |driver| driver.remove_neighbor(&name).map(|()| None)).await
    }

    /// Gives a neighbor settings for which its session has to begin anew: Cease, Other
    /// Configuration Change (RFC 4486 §4). One that an operator disabled stays disabled.
    ///
    /// # Errors
    /// Why it cannot have them; it then goes on with those that it had.
    pub async fn replace_neighbor(&self, neighbor: Neighbor) -> Result<(), ChangeError> {
        self.change(move |driver| driver.replace_neighbor(neighbor)).await
    }

    /// Gives a neighbor other policies, limits, BFD, another port to dial, or makes it our client
    /// or not; its session stays. All other settings are left as they are.
    ///
    /// # Errors
    /// There is none of this name, or a socket for BFD cannot be opened.
    pub async fn change_neighbor(&self, neighbor: Neighbor) -> Result<(), ChangeError> {
        self.change(move |driver| driver.change_neighbor(neighbor)).await
    }

    async fn change(
        &self,
        change: impl FnOnce(&mut Driver) -> Result<Pending, ChangeError> + Send + 'static,
    ) -> Result<(), ChangeError> {
        let pending = self.ask(change).await.unwrap_or(Err(ChangeError::Ended))?;
        let Some(pending) = pending else { return Ok(()) };
        // A thread of BFD that has ended has said why.
        pending.await.unwrap_or(Ok(())).map_err(ChangeError::from)
    }
}
