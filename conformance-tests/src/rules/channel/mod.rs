//! The life of a channel.

mod close;
mod methods;
mod open;
mod server_close;

use leveret_protocol::Method;
use leveret_protocol::method::{basic, channel};

use crate::failure::Failure;
use crate::raw::RawConnection;
use crate::registry::Section;

pub(crate) const SECTION: Section = Section::complete(
    "CHAN",
    &[
        open::RULES,
        close::RULES,
        server_close::RULES,
        methods::RULES,
    ],
);

/// The text of a channel.open where the channel is open already.
const SECOND_OPEN: &str = "CHANNEL_ERROR - second 'channel.open' seen";

fn close_request<'a>() -> channel::Close<'a> {
    channel::Close {
        reply_code: 200,
        reply_text: "done".into(),
        ..Default::default()
    }
}

/// Has the server close a channel over a missing exchange, and reads its close without answering.
async fn provoke_close(raw: &mut RawConnection, channel: u16) -> Result<(), Failure> {
    let exchange = "leveret-conformance-no-such-exchange";
    raw.publish(channel, exchange, "", "refused").await?;
    let close = raw.expect(channel, channel::Close::ID).await?;
    let code = close.read(|method| match method {
        Method::Channel(channel::Method::Close(close)) => Some(close.reply_code),
        _ => None,
    })?;
    crate::expect_eq("reply code", code, 404)
}

/// Answers the server's close, and opens the channel again.
async fn accept_close(raw: &mut RawConnection, channel: u16) -> Result<(), Failure> {
    raw.send_method(channel, channel::CloseOk {}).await?;
    raw.open_channel(channel).await
}

/// A get to send while nothing may answer it.
fn get(queue: &str) -> basic::Get<'_> {
    basic::Get {
        queue: queue.into(),
        ..Default::default()
    }
}
