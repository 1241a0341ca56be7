//! The permissions that a test has had changed.
//!
//! What it is not: it changes none itself; [`crate::operator`] does.
//!
//! Invariant: a user counts as changed from the moment somebody is asked to change it until somebody has
//! given back what the fixtures say, so the clean-up never leaves one changed.

use std::sync::{Mutex, PoisonError};

use crate::failure::Failure;
use crate::operator::{Order, PermissionsOrder};
use crate::target::Target;

/// What the fixtures say of the users whose permissions are changed.
const EVERYTHING: &str = ".*";

#[derive(Debug, Default)]
pub(crate) struct ChangedPermissions(Mutex<Vec<PermissionsOrder>>);

impl ChangedPermissions {
    pub(crate) async fn change(
        &self,
        target: &Target,
        to: PermissionsOrder,
    ) -> Result<(), Failure> {
        self.edit(|changed| changed.push(everything(&to)));
        target.operate(Order::SetPermissions(to)).await
    }

    pub(crate) async fn restore_all(&self, target: &Target) -> Result<(), Failure> {
        let mut left = Vec::new();
        self.edit(|changed| std::mem::swap(changed, &mut left));
        for order in left {
            target.operate(Order::SetPermissions(order)).await?;
        }
        Ok(())
    }

    fn edit(&self, edit: impl FnOnce(&mut Vec<PermissionsOrder>)) {
        edit(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn everything(order: &PermissionsOrder) -> PermissionsOrder {
    PermissionsOrder {
        configure: EVERYTHING.to_owned(),
        write: EVERYTHING.to_owned(),
        read: EVERYTHING.to_owned(),
        ..order.clone()
    }
}
