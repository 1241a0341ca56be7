//! What may come next where the target's profile says which of several things.
//!
//! What it is not: a way to let several things pass. Whatever the profile does not accept fails the test,
//! which then says which variant it was.

use leveret_protocol::MethodId;

use super::expect::{Expected, show};
use super::socket::{Event, RawConnection};
use crate::failure::Failure;
use crate::profile::Variant;
use crate::trial::Trial;

impl RawConnection {
    /// Reads what comes next and says which variant it shows; a close is answered with close-ok. Two
    /// variants may look alike here: the first that is accepted counts.
    ///
    /// # Errors
    /// It shows none of the variants that the profile accepts.
    pub async fn expect_variant(
        &mut self,
        t: &Trial,
        alternatives: &[(Variant, Expected)],
    ) -> Result<Variant, Failure> {
        let (accepted, refused): (Vec<_>, Vec<_>) = alternatives
            .iter()
            .partition(|(variant, _)| t.accepts(*variant));
        let event = self.next_event_within(self.patience_for(&accepted)).await?;
        if let Some((variant, expected)) = self.which(&accepted, &event) {
            self.answer_close(expected).await?;
            t.saw(*variant);
            return Ok(*variant);
        }
        let wanted: Vec<_> = accepted.iter().map(|(_, one)| one.to_string()).collect();
        let mut failure = Failure::expected(wanted.join(" or "), show(&event));
        if let Some((variant, _)) = self.which(&refused, &event) {
            failure = failure.note(t.not_accepted(*variant));
        }
        Err(self.explain(failure))
    }

    fn patience_for(&self, accepted: &[&(Variant, Expected)]) -> std::time::Duration {
        let each = accepted
            .iter()
            .map(|(_, one)| one.patience(self.patience()));
        each.max().unwrap_or_else(|| self.patience())
    }

    fn which<'a>(
        &self,
        alternatives: &[&'a (Variant, Expected)],
        event: &Event,
    ) -> Option<&'a (Variant, Expected)> {
        let mut each = alternatives.iter().copied();
        each.find(|(_, expected)| expected.matches(event, self.texts))
    }

    /// A round trip on the channel, as [`RawConnection::barrier`], unless a close comes before the answer:
    /// which of the two variants it is.
    ///
    /// # Errors
    /// It shows none of the variants that the profile accepts.
    pub async fn expect_taken_or_refused(
        &mut self,
        t: &Trial,
        taken: Variant,
        refused: (Variant, Expected),
    ) -> Result<Variant, Failure> {
        use leveret_protocol::method::channel::{Flow, FlowOk};
        const ON_CHANNEL: u16 = 1;
        self.send_method(ON_CHANNEL, Flow { active: true }).await?;
        let answer: MethodId = FlowOk::ID;
        let alternatives = [(taken, Expected::method(ON_CHANNEL, answer)), refused];
        self.expect_variant(t, &alternatives).await
    }
}
