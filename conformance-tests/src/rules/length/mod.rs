//! Length limits: how many messages, or bytes of them, a queue holds, and what becomes of the rest.

mod drop_head;
mod reject_publish;

use leveret_protocol::Value;

use crate::failure::{Failure, expect_eq};
use crate::raw::RawConnection;
use crate::registry::Section;

pub(crate) const SECTION: Section =
    Section::unfinished("LEN", &[drop_head::RULES, reject_publish::RULES]);

fn max_length(max: i32) -> (&'static str, Value<'static>) {
    ("x-max-length", Value::I32(max))
}

fn max_bytes(max: i32) -> (&'static str, Value<'static>) {
    ("x-max-length-bytes", Value::I32(max))
}

/// Expects exactly these messages in a queue, and takes them.
async fn expect_all(
    raw: &mut RawConnection,
    queue: &str,
    expected: &[&str],
) -> Result<(), Failure> {
    let mut came = Vec::new();
    while let Some(message) = raw.take(1, queue).await? {
        came.push(message.text());
    }
    let came: Vec<_> = came.iter().map(String::as_str).collect();
    expect_eq(format!("what lies in {queue}"), came, expected.to_vec())
}
