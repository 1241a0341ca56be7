//! Dead letters that come back to a queue in which they have died before.

use leveret_protocol::{ArrayBuf, Properties, TableBuf, Value};

use super::history::{HISTORY_IS_DROPPED, HISTORY_IS_KEPT, PUBLISHERS_HISTORY};
use super::{declare_leading_to, expect_deaths, headers_of};
use crate::failure::{Failure, expect_eq};
use crate::raw::{RawConnection, transient_exchange};
use crate::trial::Trial;

variants! { EARLIER_DEATHS: "DLX-17" {
    TURNED_AROUND "turned-around" "A death turns the earlier ones around, so that a rejection before the queue counts.";
    IN_ORDER "in-order" "Earlier deaths keep their order, and a rejection before the queue does not count.";
} }

rules! {
    "DLX-17" ends_without_a_rejection [raw] "A cycle without a rejection in it ends …";
    "DLX-17" only_for_that_queue [raw] "… for the queue where it began, and for no other.";
    "DLX-17" rejection_breaks_it [raw, variants(&[PUBLISHERS_HISTORY])]
        "A rejection within the cycle lets it go on …";
    "DLX-17" rejection_before_it [raw, variants(&[EARLIER_DEATHS, PUBLISHERS_HISTORY])]
        "… but one before it does not.";
    "DLX-17" rejection_is_never_held [raw] "What is rejected may come back to the same queue.";
    "DLX-18" queue_of_its_own [raw] "What expires and leads back to the same queue is dropped.";
    "DLX-19" retries [raw] "Rejecting, waiting and trying again works for ever, and is counted.";
}

/// Two queues in which messages expire into each other. All that expires in the second is seen.
struct Circle {
    raw: RawConnection,
    seen: RawConnection,
    first: String,
    second: String,
}

impl Circle {
    async fn new(t: &Trial) -> Result<Self, Failure> {
        let (mut raw, mut seen) = (t.raw().await?, t.raw().await?);
        let (first, second, sink) = (t.name("first"), t.name("second"), t.name("sink"));
        let from_second = t.name("from-second");
        raw.declare_exchange(1, transient_exchange(&from_second, "fanout"))
            .await?;
        raw.declare_queue(1, &sink).await?;
        let short = ("x-message-ttl", Value::I32(20));
        declare_leading_to(&mut raw, &first, &second, &[short]).await?;
        let dlx = (
            "x-dead-letter-exchange",
            Value::LongStr(from_second.as_bytes()),
        );
        raw.declare_queue_with(1, &second, &[dlx, short]).await?;
        // The first queue is served first, so what is seen in the sink is there by then.
        for queue in [&first, &sink] {
            raw.bind(1, queue, &from_second, "").await?;
        }
        seen.consume_no_ack(1, &sink).await?;
        Ok(Self {
            raw,
            seen,
            first,
            second,
        })
    }

    /// Publishes to the first queue and shows that the message makes its round once.
    async fn expect_one_round(&mut self, text: &str) -> Result<(), Failure> {
        self.raw.publish(1, "", &self.first, text).await?;
        let message = self.seen.expect_texts(1, &[text]).await?.remove(0);
        let once = [
            ("expired", self.second.as_str(), 1),
            ("expired", &self.first, 1),
        ];
        expect_deaths(&message, &once)
    }
}

/// If the first message went on, it would be seen again before or beside the second and the third.
async fn ends_without_a_rejection(t: &Trial) -> Result<(), Failure> {
    let mut circle = Circle::new(t).await?;
    for text in ["one", "two", "three"] {
        circle.expect_one_round(text).await?;
    }
    Ok(())
}

async fn only_for_that_queue(t: &Trial) -> Result<(), Failure> {
    let mut circle = Circle::new(t).await?;
    circle.expect_one_round("seen elsewhere").await?;
    // Neither queue holds it any more.
    let (first, second) = (circle.first.clone(), circle.second.clone());
    circle.raw.expect_empty(1, &second).await?;
    circle.raw.expect_empty(1, &first).await
}

/// Publishes a message that claims to have died in this queue, and in others before and after that. The
/// latest death stands first.
async fn publish_with_deaths(
    raw: &mut RawConnection,
    queue: &str,
    deaths: &[(&str, &str)],
) -> Result<(), Failure> {
    let deaths: Vec<_> = deaths
        .iter()
        .map(|(reason, queue)| death(reason, queue))
        .collect();
    let deaths = deaths.iter().map(|death| Value::Table(death.view()));
    let deaths = ArrayBuf::from_iter(deaths);
    let headers = TableBuf::new().with("x-death", Value::Array(deaths.view()));
    let properties = Properties {
        headers: Some(headers.view()),
        ..Default::default()
    };
    raw.publish_message(1, ("", queue), properties, "m").await
}

fn death(reason: &str, queue: &str) -> TableBuf {
    let keys = ArrayBuf::default();
    TableBuf::new()
        .with("count", Value::I64(1))
        .with("reason", Value::LongStr(reason.as_bytes()))
        .with("queue", Value::LongStr(queue.as_bytes()))
        .with("time", Value::Timestamp(1))
        .with("exchange", Value::LongStr(b""))
        .with("routing-keys", Value::Array(keys.view()))
}

/// Messages die in `source` of its length limit and would go to `target`. Says whether one with these
/// earlier deaths does, given as reason and queue, the latest first.
async fn goes_on(t: &Trial, deaths: &[(&str, &str)]) -> Result<bool, Failure> {
    let mut raw = t.raw().await?;
    let (source, target) = (t.name("source"), t.name("target"));
    raw.declare_queue(1, &target).await?;
    let none = ("x-max-length", Value::I32(0));
    declare_leading_to(&mut raw, &source, &target, &[none]).await?;
    let deaths: Vec<_> = deaths
        .iter()
        .map(|(reason, queue)| match *queue {
            "target" => (*reason, target.as_str()),
            other => (*reason, other),
        })
        .collect();
    publish_with_deaths(&mut raw, &source, &deaths).await?;
    // The queue has let go of the message when it answers.
    raw.expect_empty(1, &source).await?;
    let came = raw.take(1, &target).await?;
    Ok(came.is_some())
}

async fn expect_going_on(
    t: &Trial,
    deaths: &[(&str, &str)],
    expected: bool,
) -> Result<(), Failure> {
    let came = goes_on(t, deaths).await?;
    // What a publisher claims holds nothing up where it does not count.
    let (variant, expected) = match t.accepts(HISTORY_IS_KEPT) {
        true => (HISTORY_IS_KEPT, expected),
        false => (HISTORY_IS_DROPPED, true),
    };
    t.saw(variant);
    expect_eq(
        format!("whether it goes on after {deaths:?}"),
        came,
        expected,
    )
}

async fn rejection_breaks_it(t: &Trial) -> Result<(), Failure> {
    expect_going_on(t, &[("expired", "a"), ("expired", "b")], true).await?;
    expect_going_on(t, &[("expired", "a"), ("expired", "target")], false).await?;
    let around = [("rejected", "a"), ("expired", "target"), ("rejected", "b")];
    expect_going_on(t, &around, true).await?;
    expect_going_on(t, &[("rejected", "target")], true).await
}

async fn rejection_before_it(t: &Trial) -> Result<(), Failure> {
    let before = [("expired", "a"), ("maxlen", "target"), ("rejected", "b")];
    if !t.accepts(HISTORY_IS_KEPT) {
        return expect_going_on(t, &before, true).await;
    }
    let came = goes_on(t, &before).await?;
    let alternatives = [(TURNED_AROUND, true), (IN_ORDER, false)];
    t.expect_variant_of("whether it goes on", came, &alternatives)
        .map(drop)
}

async fn rejection_is_never_held(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    declare_leading_to(&mut raw, &queue, &queue, &[]).await?;
    raw.publish(1, "", &queue, "m").await?;
    raw.consume(1, &queue).await?;
    for count in 0..5 {
        let message = raw.expect_texts(1, &["m"]).await?.remove(0);
        if count > 0 {
            expect_deaths(&message, &[("rejected", &queue, count)])?;
        }
        raw.reject(1, message.delivery_tag, false).await?;
    }
    raw.expect_texts(1, &["m"]).await.map(drop)
}

/// With a second key in CC, every death is seen in another queue, whatever becomes of the first.
async fn queue_of_its_own(t: &Trial) -> Result<(), Failure> {
    let (mut raw, mut seen) = (t.raw().await?, t.raw().await?);
    let (queue, sink) = (t.name("q"), t.name("sink"));
    let arguments = [
        ("x-dead-letter-exchange", Value::LongStr(b"")),
        ("x-message-ttl", Value::I32(20)),
    ];
    raw.declare_queue_with(1, &queue, &arguments).await?;
    raw.declare_queue(1, &sink).await?;
    seen.consume_no_ack(1, &sink).await?;
    let cc = ArrayBuf::from_iter([Value::LongStr(sink.as_bytes())]);
    let headers = TableBuf::new().with("CC", Value::Array(cc.view()));
    for text in ["one", "two", "three"] {
        let properties = Properties {
            headers: Some(headers.view()),
            ..Default::default()
        };
        raw.publish_message(1, ("", &queue), properties, text)
            .await?;
        let came = seen.expect_texts(1, &[text, text]).await?;
        let history = headers_of(&came[0])?.view().get("x-death").is_some();
        expect_eq("whether the publisher's copy had died", history, false)?;
        expect_deaths(&came[1], &[("expired", &queue, 1)])?;
    }
    raw.expect_empty(1, &queue).await
}

async fn retries(t: &Trial) -> Result<(), Failure> {
    const ROUNDS: i64 = 30;
    let mut raw = t.raw().await?;
    let (work, wait) = (t.name("work"), t.name("wait"));
    declare_leading_to(&mut raw, &work, &wait, &[]).await?;
    let short = ("x-message-ttl", Value::I32(1));
    declare_leading_to(&mut raw, &wait, &work, &[short]).await?;
    raw.consume(1, &work).await?;
    raw.publish(1, "", &work, "m").await?;
    for round in 0..=ROUNDS {
        let message = raw.expect_texts(1, &["m"]).await?.remove(0);
        if round > 0 {
            let counts = [
                ("expired", wait.as_str(), round),
                ("rejected", &work, round),
            ];
            expect_deaths(&message, &counts)?;
        }
        raw.reject(1, message.delivery_tag, false).await?;
    }
    Ok(())
}
