//! Trust anchors in a file, as a ConfigMap is mounted: read at the start, and again when it changed.
//!
//! Daemons that are given such a file read it with [`read_anchors`] and keep a [`Store`] at it with
//! [`follow_anchors`], so that a new root is trusted without a restart. What cannot be read leaves
//! what is trusted as it is.

use crate::{AnchorsError, Store, TrustAnchors};
use std::{io, path::Path, path::PathBuf, time::Duration};
use tokio::io::AsyncReadExt;

/// Why the trust anchors of a file are not used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// There is no such file, or we may not read it.
    #[error("cannot read the trust anchors from {}: {source}; is the ConfigMap mounted there?", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What reading it said.
        source: io::Error,
    },
    /// It holds something else.
    #[error("the trust anchors in {} cannot be used: {source}", path.display())]
    Anchors {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        source: AnchorsError,
    },
}

/// A ConfigMap holds no more.
const MAX: u64 = 1024 * 1024;
/// A kubelet brings a changed ConfigMap within about a minute; this adds little to it.
const EVERY: Duration = Duration::from_secs(5);

/// The trust anchors of a file in PEM.
pub async fn read_anchors(path: &Path) -> Result<TrustAnchors, BundleError> {
    let pem = text(path).await.map_err(|source| BundleError::Read {
        path: path.to_owned(),
        source,
    })?;
    TrustAnchors::from_pem(&pem).map_err(|source| BundleError::Anchors {
        path: path.to_owned(),
        source,
    })
}

/// Keeps the store trusting what the file says, for ever.
pub async fn follow_anchors(store: Store, path: PathBuf) {
    follow(&store, &path, EVERY).await;
}

async fn follow(store: &Store, path: &Path, every: Duration) {
    // Told once, not at every look.
    let mut problem = String::new();
    loop {
        match step(store, path).await {
            Ok(()) => problem.clear(),
            Err(error) if error == problem => {}
            Err(error) => {
                tracing::warn!(%error, "the trust anchors stay as they are");
                problem = error;
            }
        }
        tokio::time::sleep(every).await;
    }
}

async fn step(store: &Store, path: &Path) -> Result<(), String> {
    let anchors = read_anchors(path)
        .await
        .map_err(|error| error.to_string())?;
    let known = store.anchors();
    if anchors == known {
        return Ok(());
    }
    let (before, now) = (known.certificates().len(), anchors.certificates().len());
    store.trust(anchors).map_err(|error| error.to_string())?;
    tracing::info!(path = %path.display(), before, now, "the trust anchors changed");
    Ok(())
}

async fn text(path: &Path) -> io::Result<String> {
    let file = tokio::fs::File::open(path).await?;
    let mut text = String::new();
    file.take(MAX).read_to_string(&mut text).await?;
    Ok(text)
}

#[cfg(test)]
mod tests;
