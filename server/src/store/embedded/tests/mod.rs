//! The suite for every engine, run against this one, and what is its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod account_audit;
mod audit;
mod bodies;
mod golden;
mod import;
mod own;
mod packs;
mod sizes;
mod space;

use std::sync::Arc;

use async_trait::async_trait;
use tempfile::TempDir;

use super::EmbeddedStore;
use crate::store::{Store, engine::EngineOptions, suite::Place};

/// A directory.
pub(super) struct Directory(TempDir);

impl Directory {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn store(&self) -> EmbeddedStore {
        let dir = self.0.path();
        if dir.join("format").exists() {
            EmbeddedStore::open(dir, EngineOptions::default()).unwrap()
        } else {
            EmbeddedStore::create(dir, EngineOptions::default()).unwrap()
        }
    }
}

#[async_trait]
impl Place for Directory {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.store())
    }
}

/// What every engine must do.
mod shared {
    crate::store::suite::store_suite!(crate::store::embedded::tests::Directory::new());
}
