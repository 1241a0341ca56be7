//! [`Confirms`]: which publishes of a channel are still to be confirmed.
//!
//! A publish gets the next number when it arrives (CONFIRM-02) and is settled when every queue it
//! was routed to has taken it. Numbers that were settled in a row are confirmed with one frame
//! (CONFIRM-04), which never jumps over one that was refused (CONFIRM-17).

use bytes::BytesMut;
use leveret_protocol::method::{basic, write_frame};

/// A channel's publisher confirms.
#[derive(Debug, Default)]
pub(crate) struct Confirms {
    /// The latest number given out.
    published: u64,
    /// Everything up to this number has been answered.
    answered: u64,
    /// Numbers after `answered` that a queue refused.
    refused: Vec<u64>,
}

impl Confirms {
    /// Numbers the next publish.
    pub(crate) fn next(&mut self) -> u64 {
        self.published += 1;
        self.published
    }

    /// A queue has refused this publish (CONFIRM-08).
    pub(crate) fn refuse(&mut self, sequence: u64) {
        self.refused.push(sequence);
    }

    /// Answers everything published so far. Call it when all of it has been handed to its queues.
    pub(crate) fn write(&mut self, channel: u16, out: &mut BytesMut) {
        self.refused.sort_unstable();
        self.refused.dedup();
        for sequence in std::mem::take(&mut self.refused) {
            self.ack_up_to(sequence - 1, channel, out);
            // The requeue bit means nothing here, but it is set in the reference (CONFIRM-09).
            let nack = basic::Nack {
                delivery_tag: sequence,
                multiple: false,
                requeue: true,
            };
            write_frame(nack, channel, out);
            self.answered = sequence;
        }
        self.ack_up_to(self.published, channel, out);
    }

    fn ack_up_to(&mut self, sequence: u64, channel: u16, out: &mut BytesMut) {
        if sequence > self.answered {
            let multiple = sequence - self.answered > 1;
            write_frame(
                basic::Ack {
                    delivery_tag: sequence,
                    multiple,
                },
                channel,
                out,
            );
            self.answered = sequence;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use leveret_protocol::Method;
    use leveret_protocol::framer::{Cut, cut};

    fn answers(confirms: &mut Confirms) -> Vec<String> {
        let mut out = BytesMut::new();
        confirms.write(1, &mut out);
        let mut answers = Vec::new();
        while let Ok(Cut::Frame(frame)) = cut(&out, 100) {
            answers.push(match Method::parse(frame.payload).unwrap() {
                Method::Basic(basic::Method::Ack(ack)) if ack.multiple => {
                    format!("acks {}", ack.delivery_tag)
                }
                Method::Basic(basic::Method::Ack(ack)) => format!("ack {}", ack.delivery_tag),
                Method::Basic(basic::Method::Nack(nack)) => format!("nack {}", nack.delivery_tag),
                other => format!("{other:?}"),
            });
            let len = frame.wire_len();
            let _ = out.split_to(len);
        }
        answers
    }

    #[test]
    fn confirm_04_a_row_is_confirmed_with_one_frame() {
        let mut confirms = Confirms::default();
        assert_eq!(answers(&mut confirms), [""; 0]);
        assert_eq!(confirms.next(), 1);
        assert_eq!(answers(&mut confirms), ["ack 1"]);
        (2..=5).for_each(|n| assert_eq!(confirms.next(), n));
        assert_eq!(answers(&mut confirms), ["acks 5"]);
        assert_eq!(answers(&mut confirms), [""; 0]);
    }

    #[test]
    fn confirm_17_an_ack_never_covers_a_refused_publish() {
        let mut confirms = Confirms::default();
        (0..6).for_each(|_| {
            confirms.next();
        });
        [4, 3, 4].into_iter().for_each(|n| confirms.refuse(n));
        assert_eq!(
            answers(&mut confirms),
            ["acks 2", "nack 3", "nack 4", "acks 6"]
        );
    }
}
