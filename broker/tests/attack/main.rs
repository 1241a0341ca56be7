//! A list of attacks, each number of it as tests.
//!
//! The list is that of bad inputs and attacks on message brokers which `list.rs` holds, with where each
//! number is tested: here, in another file, or not yet because the front end it aims at does not exist.
//! A test is named by its number. Each shows what the attacker hears, that a healthy client beside it is
//! served meanwhile, where it is about memory that this stays bounded, and that nothing is left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod alarms;
mod arena;
mod attacker;
mod before_login;
mod bugs_of_others;
mod data_directory;
mod flow;
mod frames;
mod handshake;
mod hoards;
mod list;
mod lock_file;
mod methods;
mod others;
mod outside;
mod patterns;
mod process;
mod properties;
mod rust;
mod settling;
mod storage;
mod topology;
