//! Login, opening a vhost, what a connection may do when, and its end.

mod challenge;
mod close;
mod login;
mod open;
mod state;

use leveret_protocol::method::{connection, queue};

use crate::failure::Failure;
use crate::raw::{Expected, RawConnection, Text, durable_queue};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete(
    "CONN",
    &[
        login::RULES,
        challenge::RULES,
        open::RULES,
        state::RULES,
        close::RULES,
    ],
);

/// A raw connection that has read start.
async fn at_start(t: &Trial) -> Result<RawConnection, Failure> {
    let mut raw = t.raw_socket().await?;
    raw.begin().await?;
    Ok(raw)
}

/// One that has logged in and read tune.
async fn at_tune(t: &Trial) -> Result<(RawConnection, connection::Tune), Failure> {
    let mut raw = at_start(t).await?;
    let offered = raw.log_in(&t.handshake()).await?;
    Ok((raw, offered))
}

/// One that may open a vhost.
async fn at_open(t: &Trial) -> Result<RawConnection, Failure> {
    let (mut raw, offered) = at_tune(t).await?;
    raw.tune(&t.handshake(), offered).await?;
    Ok(raw)
}

fn exclusive_queue(name: &str) -> queue::Declare<'_> {
    queue::Declare {
        exclusive: true,
        ..durable_queue(name)
    }
}

fn passive(name: &str) -> queue::Declare<'_> {
    queue::Declare {
        passive: true,
        ..durable_queue(name)
    }
}

/// Checks that a queue does not exist, and opens channel 1 again.
async fn expect_gone(raw: &mut RawConnection, name: &str) -> Result<(), Failure> {
    raw.send_method(1, passive(name)).await?;
    let text = Text::starts("NOT_FOUND - no queue '");
    raw.expect_channel_close(1, 404, text, queue::Declare::ID)
        .await?;
    raw.open_channel(1).await
}

/// Waits until a queue does not exist any more, where no event tells when: each round asks the
/// broker, and the test's deadline bounds them.
async fn await_gone(raw: &mut RawConnection, name: &str) -> Result<(), Failure> {
    loop {
        raw.send_method(1, passive(name)).await?;
        let answers = [
            Expected::channel_close(1, 404, Text::any(), queue::Declare::ID),
            Expected::channel_close(1, 405, Text::any(), queue::Declare::ID),
            Expected::method(1, queue::DeclareOk::ID),
        ];
        match raw.expect_any_of(&answers).await? {
            0 => return raw.open_channel(1).await,
            1 => raw.open_channel(1).await?,
            _ => {}
        }
    }
}
