//! The codec against the specification, against hand-written bytes and against itself.

#![allow(clippy::unwrap_used)]

mod frames;
mod golden;
mod grammar;
mod hostile;
mod methods;
mod model;
mod properties;
mod values;

#[path = "../../fuzz/src/lib.rs"]
pub mod targets;

/// Hexadecimal digits and spaces as bytes, for frames written out by hand.
fn hex(digits: &str) -> Vec<u8> {
    let digits: String = digits.split_whitespace().collect();
    assert!(digits.len().is_multiple_of(2), "{digits}");
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits"))
        .collect()
}
