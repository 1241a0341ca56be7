//! Publishing.

mod content;
mod copies;
mod properties;
mod refusals;

use leveret_protocol::Properties;
use leveret_protocol::method::basic;

use crate::failure::Failure;
use crate::raw::{RawConnection, Text};
use crate::registry::Section;

pub(crate) const SECTION: Section = Section::complete(
    "PUB",
    &[
        refusals::RULES,
        properties::RULES,
        copies::RULES,
        content::RULES,
    ],
);

fn to<'a>(exchange: &'a str, routing_key: &'a str) -> basic::Publish<'a> {
    basic::Publish {
        exchange: exchange.into(),
        routing_key: routing_key.into(),
        ..Default::default()
    }
}

/// Publishes on channel 1, is refused with this code and text, and opens the channel again.
async fn expect_refused(
    raw: &mut RawConnection,
    publish: basic::Publish<'_>,
    properties: Properties<'_>,
    code: u16,
    text: impl Into<Text>,
) -> Result<(), Failure> {
    raw.publish_with(1, publish, properties, b"refused").await?;
    raw.expect_channel_close(1, code, text, basic::Publish::ID)
        .await?;
    raw.open_channel(1).await
}
