//! The vhosts that a test has had made.
//!
//! What it is not: it makes none itself; [`crate::operator`] does.
//!
//! Invariant: a vhost counts as there from the moment somebody is asked to make it until somebody has
//! deleted it, so the clean-up never leaves one behind.

use std::sync::{Mutex, PoisonError};

use crate::failure::Failure;
use crate::operator::Order;
use crate::target::Target;

#[derive(Debug, Default)]
pub(crate) struct AddedVhosts(Mutex<Vec<String>>);

impl AddedVhosts {
    pub(crate) async fn add(&self, target: &Target, name: &str) -> Result<(), Failure> {
        self.edit(|added| added.push(name.to_owned()));
        target.operate(Order::AddVhost(name.to_owned())).await
    }

    pub(crate) async fn delete(&self, target: &Target, name: &str) -> Result<(), Failure> {
        target.operate(Order::DeleteVhost(name.to_owned())).await?;
        self.edit(|added| added.retain(|one| one != name));
        Ok(())
    }

    pub(crate) async fn delete_all(&self, target: &Target) -> Result<(), Failure> {
        let mut left = Vec::new();
        self.edit(|added| left.clone_from(added));
        for name in left {
            self.delete(target, &name).await?;
        }
        Ok(())
    }

    fn edit(&self, edit: impl FnOnce(&mut Vec<String>)) {
        edit(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
