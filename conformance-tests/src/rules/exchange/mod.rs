//! Exchanges: what exists, declaring, deleting and auto-delete.

mod declare;
mod delete;
mod equivalence;
mod special;

use leveret_protocol::method::exchange::Declare;

use crate::failure::Failure;
use crate::profile::Variant;
use crate::raw::{Expected, RawConnection, Text};
use crate::registry::Section;

pub(crate) const SECTION: Section = Section::complete(
    "EXCH",
    &[
        declare::RULES,
        equivalence::RULES,
        delete::RULES,
        special::RULES,
    ],
);

/// The text of every refusal that protects the default exchange.
const DEFAULT_EXCHANGE_REFUSED: &str =
    "ACCESS_REFUSED - operation not permitted on the default exchange";

/// `exchange 'x' in vhost '/'`, as it stands in error texts.
fn resource(name: &str, vhost: &str) -> String {
    format!("exchange '{name}' in vhost '{vhost}'")
}

fn not_found(name: &str, vhost: &str) -> String {
    format!("NOT_FOUND - no {}", resource(name, vhost))
}

variants! {
    /// What becomes of who declares an exchange of an unknown type.
    pub(in crate::rules) UNKNOWN_TYPES: "EXCH-03" {
        UNKNOWN_TYPE_ENDS_CONNECTION "503" "An unknown type ends the connection with 503.";
        UNKNOWN_TYPE_ENDS_CHANNEL "406" "An unknown type ends the channel with 406.";
    }
}

/// RabbitMQ calls a type invalid instead of unknown if the word is one that its machine knows by chance.
pub(in crate::rules) fn unknown_type_refusals(kind: &str) -> [(Variant, Expected); 2] {
    let texts = |name: &str| {
        Text::one_of([
            format!("{name} - unknown exchange type '{kind}'"),
            format!("{name} - invalid exchange type '{kind}'"),
        ])
    };
    let (invalid, failed) = (texts("COMMAND_INVALID"), texts("PRECONDITION_FAILED"));
    let connection_close = Expected::connection_close(503, invalid, Declare::ID);
    let channel_close = Expected::channel_close(1, 406, failed, Declare::ID);
    [
        (UNKNOWN_TYPE_ENDS_CONNECTION, connection_close),
        (UNKNOWN_TYPE_ENDS_CHANNEL, channel_close),
    ]
}

/// Declares on channel 1, is refused with this code and text, and opens the channel again.
async fn expect_declare_refused(
    raw: &mut RawConnection,
    declare: Declare<'_>,
    code: u16,
    text: impl Into<Text>,
) -> Result<(), Failure> {
    raw.send_method(1, declare).await?;
    raw.expect_channel_close(1, code, text, Declare::ID).await?;
    raw.open_channel(1).await
}

/// Checks that a passive declare does not find the exchange, and opens the channel again.
pub(super) async fn expect_gone(
    raw: &mut RawConnection,
    name: &str,
    vhost: &str,
) -> Result<(), Failure> {
    let passive = Declare {
        passive: true,
        exchange: name.into(),
        ..Default::default()
    };
    expect_declare_refused(raw, passive, 404, not_found(name, vhost)).await
}
