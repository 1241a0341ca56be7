//! Arguments of a queue: what is allowed and what is compared.

mod equivalence;
mod types;
mod values;

use leveret_protocol::TableBuf;
use leveret_protocol::Value;
use leveret_protocol::method::queue;

use crate::failure::Failure;
use crate::profile::Variant;
use crate::raw::{Expected, RawConnection, Text, durable_queue};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section =
    Section::complete("QARG", &[values::RULES, types::RULES, equivalence::RULES]);

/// A connection and the name of a queue that is declared with arguments again and again.
struct Arguments<'t> {
    t: &'t Trial,
    raw: RawConnection,
    queue: String,
}

impl<'t> Arguments<'t> {
    async fn of_queue(t: &'t Trial) -> Result<Self, Failure> {
        Ok(Self {
            t,
            raw: t.raw().await?,
            queue: t.name("q"),
        })
    }

    /// `queue 'q' in vhost '/'`, as it stands in error texts.
    fn resource(&self) -> String {
        format!("queue '{}' in vhost '{}'", self.queue, self.t.vhost())
    }

    /// Declares the queue, which may exist.
    async fn expect_declared(&mut self, arguments: &TableBuf) -> Result<(), Failure> {
        let declare = queue::Declare {
            arguments: arguments.view(),
            ..durable_queue(&self.queue)
        };
        let declared = self.raw.declare(1, declare).await;
        declared
            .map(drop)
            .map_err(|failure| failure.at(format!("{arguments:?}")))
    }

    /// Declares the queue and deletes it.
    async fn expect_accepted(&mut self, arguments: &TableBuf) -> Result<(), Failure> {
        self.expect_declared(arguments).await?;
        self.raw.delete_queue(1, &self.queue).await.map(drop)
    }

    /// Declares the queue and is refused for this reason.
    async fn expect_refused(
        &mut self,
        arguments: &TableBuf,
        text: impl Into<Text>,
    ) -> Result<(), Failure> {
        let declare = queue::Declare {
            arguments: arguments.view(),
            ..durable_queue(&self.queue)
        };
        let id = queue::Declare::ID;
        self.raw.send_method(1, declare).await?;
        let refused = self.raw.expect_channel_close(1, 406, text, id).await;
        refused.map_err(|failure| failure.at(format!("{arguments:?}")))?;
        self.raw.open_channel(1).await
    }

    /// Declares the queue, and is answered in one of these ways; a queue that it declares is deleted.
    async fn expect_variant(
        &mut self,
        arguments: &TableBuf,
        answers: &[(Variant, Expected)],
    ) -> Result<Variant, Failure> {
        let declare = queue::Declare {
            arguments: arguments.view(),
            ..durable_queue(&self.queue)
        };
        self.raw.send_method(1, declare).await?;
        let came = self.raw.expect_variant(self.t, answers).await;
        let came = came.map_err(|failure| failure.at(format!("{arguments:?}")))?;
        let mut shown = answers.iter().filter(|(variant, _)| *variant == came);
        match shown.next() {
            Some((_, Expected::Method { .. })) => {
                self.raw.delete_queue(1, &self.queue).await?;
            }
            Some((_, Expected::ChannelClose { .. })) => self.raw.open_channel(1).await?,
            _ => {}
        }
        Ok(came)
    }

    /// Declares the queue with one argument, which is refused as invalid.
    async fn expect_invalid(
        &mut self,
        key: &str,
        value: Value<'_>,
        why: &str,
    ) -> Result<(), Failure> {
        let text = self.invalid(key, why);
        self.expect_refused(&one(key, value), text).await
    }

    fn invalid(&self, key: &str, why: &str) -> String {
        let resource = self.resource();
        format!("PRECONDITION_FAILED - invalid arg '{key}' for {resource}: {why}")
    }

    fn inequivalent(&self, key: &str, difference: &str) -> String {
        let resource = self.resource();
        format!("PRECONDITION_FAILED - inequivalent arg '{key}' for {resource}: {difference}")
    }
}

/// A table of one argument.
fn one(key: &str, value: Value<'_>) -> TableBuf {
    TableBuf::new().with(key, value)
}

fn text(text: &str) -> Value<'_> {
    Value::LongStr(text.as_bytes())
}
