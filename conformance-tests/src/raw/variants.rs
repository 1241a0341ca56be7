//! What may come next where the target's profile says which of several things.
//!
//! What it is not: a way to let several things pass. Whatever the profile does not accept fails the test,
//! which then says which variant it was.

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
        let accepted = alternatives
            .iter()
            .filter(|(variant, _)| t.accepts(*variant));
        let patience = accepted.map(|(_, one)| one.patience(self.patience()));
        let patience = patience.max().unwrap_or_else(|| self.patience());
        let event = self.next_event_within(patience).await?;
        self.check_variant(t, alternatives, event).await
    }

    /// The same for something that has been read already.
    ///
    /// # Errors
    /// It shows none of the variants that the profile accepts.
    pub async fn check_variant(
        &mut self,
        t: &Trial,
        alternatives: &[(Variant, Expected)],
        event: Event,
    ) -> Result<Variant, Failure> {
        let (accepted, refused): (Vec<_>, Vec<_>) = alternatives
            .iter()
            .partition(|(variant, _)| t.accepts(*variant));
        if let Some((variant, expected)) = self.which(&accepted, &event) {
            self.answer_close(expected).await?;
            t.saw(*variant);
            return Ok(*variant);
        }
        let wanted: Vec<_> = accepted.iter().map(|(_, one)| one.to_string()).collect();
        let wanted = match wanted.is_empty() {
            true => "something else".to_owned(),
            false => wanted.join(" or "),
        };
        let mut failure = Failure::expected(wanted, show(&event));
        if let Some((variant, _)) = self.which(&refused, &event) {
            failure = failure.note(t.not_accepted(*variant));
        }
        Err(self.explain(failure))
    }

    fn which<'a>(
        &self,
        alternatives: &[&'a (Variant, Expected)],
        event: &Event,
    ) -> Option<&'a (Variant, Expected)> {
        let mut each = alternatives.iter().copied();
        each.find(|(_, expected)| expected.matches(event, self.texts))
    }
}
