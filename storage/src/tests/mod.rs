//! Tests of the whole store on a disk that can crash, lie and fill up.

#![allow(clippy::unwrap_used)]

mod bench;
mod crash;
mod damage;
pub(crate) mod faults;
mod golden;
mod marks;
mod model;
mod plain;
mod space;
