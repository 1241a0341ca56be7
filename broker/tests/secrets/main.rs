//! The canary test (R12): secrets are planted wherever there can be any, and looked for in everything that comes
//! out: logs at the level `trace` in both formats, the words of errors, what is sent to clients, files, and
//! `Debug`.
//!
//! A secret is the word CANARY and what tells where it was planted. It is looked for as text, as a list of
//! numbers, in hexadecimal and in base64.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod canary;
mod commands;
mod debug;
#[path = "../logins/dialogue.rs"]
#[allow(dead_code)]
mod dialogue;
#[path = "../support/process.rs"]
mod process;
mod serving;
#[path = "../support/mod.rs"]
mod support;
