//! AMQP 0-9-1 on bytes.
pub mod encode;
pub mod parse;
pub mod reply;
pub mod value;

pub use parse::Malformed;
pub use reply::{Fault, MethodId, ReplyCode};
pub use value::{Array, ArrayBuf, LongStr, ShortStr, Table, TableBuf, Value};
