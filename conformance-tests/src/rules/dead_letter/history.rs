//! What a dead letter tells of its deaths: `x-death`, and the headers of the first and the last.

use std::time::{SystemTime, UNIX_EPOCH};

use leveret_protocol::{ArrayBuf, Properties, TableBuf, Value};

use super::super::broker_clock::BrokerClock;
use super::{
    DeadLettering, Death, deaths, declare_leading_to, expect_deaths, expiring, header_text,
    headers_of, last_death,
};
use crate::failure::{Failure, ensure, expect_eq};
use crate::raw::{Message, RawConnection, transient_exchange};
use crate::trial::Trial;

variants! { LAST_DEATH: "DLX-14" {
    LAST_IS_NOT_TOLD "not-told" "There are no headers x-last-death-*.";
    LAST_IS_TOLD "told" "There are three headers x-last-death-*.";
} }

variants! {
    /// What becomes of an x-death that the publisher sent.
    pub(super) PUBLISHERS_HISTORY: "DLX-15" {
        HISTORY_IS_KEPT "kept" "An array is kept and extended.";
        HISTORY_IS_DROPPED "dropped" "It does not count, and the first death writes over it.";
    }
}

rules! {
    "DLX-08" latest_first [raw] "x-death is an array of tables, the latest death first.";
    "DLX-09" fields [raw] "Each tells count, reason, queue, time, exchange and keys.";
    "DLX-10" fields_of_a_repetition [raw] "A repeated death has the same fields, in any order.";
    "DLX-11" repetition_is_counted [raw]
        "A death like an earlier one is counted there, and put first …";
    "DLX-11" first_time_stays [raw] "… but keeps when and how the message came there first.";
    "DLX-12" exchange_of_the_last_hop [raw] "The exchange is that of the last hop …";
    "DLX-12" keys_without_bcc [raw] "… and the keys are all but those of BCC.";
    "DLX-13" first_death [raw] "Three headers tell of the first death for ever.";
    "DLX-13" unless_there_is_a_history [raw, variants(&[PUBLISHERS_HISTORY])]
        "… unless the publisher sent x-death.";
    "DLX-14" last_death_is_told [raw, variants(&[LAST_DEATH])]
        "Three more may tell of the last one.";
    "DLX-15" publishers_array [raw, variants(&[PUBLISHERS_HISTORY])]
        "A publisher's array x-death is kept …";
    "DLX-15" publishers_nonsense [raw] "… and anything else replaced.";
}

/// Three queues, the dead letters of each going to the next, and a consumer of the last.
struct Chain {
    raw: RawConnection,
    dead: RawConnection,
    first: String,
    second: String,
}

impl Chain {
    async fn new(t: &Trial) -> Result<Self, Failure> {
        let (mut raw, mut dead) = (t.raw().await?, t.raw().await?);
        let (first, second, last) = (t.name("first"), t.name("second"), t.name("last"));
        raw.declare_queue(1, &last).await?;
        declare_leading_to(&mut raw, &second, &last, &[("x-max-length", Value::I32(0))]).await?;
        declare_leading_to(&mut raw, &first, &second, &[]).await?;
        dead.consume_no_ack(1, &last).await?;
        Ok(Self {
            raw,
            dead,
            first,
            second,
        })
    }

    /// Lets a message die by rejection, then by a length limit.
    async fn pass(&mut self) -> Result<Message, Failure> {
        let raw = &mut self.raw;
        raw.publish(1, "", &self.first, "m").await?;
        let message = raw.get_text(1, &self.first, "m").await?;
        raw.reject(1, message.delivery_tag, false).await?;
        self.dead.expect_delivery(1).await
    }
}

async fn latest_first(t: &Trial) -> Result<(), Failure> {
    let mut chain = Chain::new(t).await?;
    let message = chain.pass().await?;
    let expected = [
        ("maxlen", chain.second.as_str(), 1),
        ("rejected", &chain.first, 1),
    ];
    expect_deaths(&message, &expected)
}

async fn fields(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::new(t).await?;
    let (source, exchange) = (letters.source.clone(), t.name("x"));
    let raw = &mut letters.raw;
    raw.declare_exchange(1, transient_exchange(&exchange, "fanout"))
        .await?;
    raw.bind(1, &source, &exchange, "").await?;
    let before = now_s();
    raw.publish_message(1, (&exchange, "key"), expiring("20"), "m")
        .await?;
    let message = letters.next_text("m").await?;
    let came = last_death(&message)?;
    let expected = Death {
        count: 1,
        reason: "expired".to_owned(),
        queue: source,
        time_s: came.time_s,
        exchange,
        routing_keys: vec!["key".to_owned()],
        original_expiration: Some("20".to_owned()),
    };
    expect_eq("x-death", &came, &expected)?;
    expect_recent(came.time_s, before)
}

fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Both clocks may be a little off.
fn expect_recent(came_s: u64, before_s: u64) -> Result<(), Failure> {
    const SLACK_S: u64 = 5;
    let is_recent = (before_s - SLACK_S..=now_s() + SLACK_S).contains(&came_s);
    ensure(
        is_recent,
        format!("{came_s} s after 1970 is not now, {before_s}"),
    )
}

/// A work queue, where messages are rejected, and one in which they wait a moment and go back.
struct Retries {
    raw: RawConnection,
    work: String,
    wait: String,
    tag: u64,
}

impl Retries {
    async fn new(t: &Trial) -> Result<Self, Failure> {
        let mut raw = t.raw().await?;
        let (work, wait) = (t.name("work"), t.name("wait"));
        declare_leading_to(&mut raw, &work, &wait, &[]).await?;
        let short = ("x-message-ttl", Value::I32(10));
        declare_leading_to(&mut raw, &wait, &work, &[short]).await?;
        raw.consume(1, &work).await?;
        Ok(Self {
            raw,
            work,
            wait,
            tag: 0,
        })
    }

    /// The message as it is at work after so many rounds.
    async fn after(&mut self, rounds: u64) -> Result<Message, Failure> {
        let mut message = self.raw.expect_delivery(1).await?;
        for _ in 0..rounds {
            self.tag += 1;
            self.raw.reject(1, self.tag, false).await?;
            message = self.raw.expect_delivery(1).await?;
        }
        Ok(message)
    }
}

async fn fields_of_a_repetition(t: &Trial) -> Result<(), Failure> {
    let mut retries = Retries::new(t).await?;
    let work = retries.work.clone();
    let properties = expiring("3600000");
    let raw = &mut retries.raw;
    raw.publish_message(1, ("", &work), properties, "m").await?;
    let message = retries.after(2).await?;
    // That they can be read shows that each field is there once, in its type.
    for death in deaths(&message)? {
        let was_at_work = death.queue == work;
        let kept = was_at_work.then(|| "3600000".to_owned());
        expect_eq("original-expiration", death.original_expiration, kept)?;
    }
    Ok(())
}

async fn repetition_is_counted(t: &Trial) -> Result<(), Failure> {
    let mut retries = Retries::new(t).await?;
    let (work, wait) = (retries.work.clone(), retries.wait.clone());
    retries.raw.publish(1, "", &work, "m").await?;
    let message = retries.after(3).await?;
    expect_deaths(&message, &[("expired", &wait, 3), ("rejected", &work, 3)])
}

async fn first_time_stays(t: &Trial) -> Result<(), Failure> {
    let mut retries = Retries::new(t).await?;
    let (work, exchange) = (retries.work.clone(), t.name("x"));
    let raw = &mut retries.raw;
    raw.declare_exchange(1, transient_exchange(&exchange, "fanout"))
        .await?;
    raw.bind(1, &work, &exchange, "").await?;
    raw.publish(1, &exchange, "the first key", "m").await?;
    let of_work = |message: &Message| -> Result<Option<Death>, Failure> {
        let all = deaths(message)?;
        Ok(all.into_iter().find(|death| death.queue == work))
    };
    let once = of_work(&retries.after(1).await?)?;
    let expected = Death {
        time_s: once.as_ref().map_or(0, |death| death.time_s),
        count: 1,
        reason: "rejected".to_owned(),
        queue: work.clone(),
        exchange,
        routing_keys: vec!["the first key".to_owned()],
        original_expiration: None,
    };
    expect_eq("the death at work", &once, &Some(expected.clone()))?;
    // Seconds are counted, so the time may well have changed unless it is kept.
    BrokerClock::new(t).await?.wait(1_100).await?;
    retries.tag += 1;
    retries.raw.reject(1, retries.tag, false).await?;
    let twice = of_work(&retries.after(0).await?)?;
    let expected = Death {
        count: 2,
        ..expected
    };
    expect_eq("the death at work", twice, Some(expected))
}

async fn exchange_of_the_last_hop(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::with(t, &[("x-max-length", Value::I32(0))]).await?;
    let (first, between, source) = (t.name("first"), t.name("between"), letters.source.clone());
    let raw = &mut letters.raw;
    raw.declare_exchange(1, transient_exchange(&between, "fanout"))
        .await?;
    raw.bind(1, &source, &between, "").await?;
    let arguments = [
        ("x-dead-letter-exchange", Value::LongStr(between.as_bytes())),
        ("x-dead-letter-routing-key", Value::LongStr(b"changed")),
        ("x-max-length", Value::I32(0)),
    ];
    raw.declare_queue_with(1, &first, &arguments).await?;
    raw.publish(1, "", &first, "m").await?;
    let came = deaths(&letters.next_text("m").await?)?;
    let came: Vec<_> = came
        .iter()
        .map(|death| (death.exchange.as_str(), death.routing_keys.clone()))
        .collect();
    let expected = vec![
        (between.as_str(), vec!["changed".to_owned()]),
        ("", vec![first]),
    ];
    expect_eq("exchanges and keys", came, expected)
}

async fn keys_without_bcc(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::new(t).await?;
    let cc = ArrayBuf::from_iter([Value::LongStr(b"copy"), Value::LongStr(b"another")]);
    let bcc = ArrayBuf::from_iter([Value::LongStr(b"blind")]);
    let headers = TableBuf::new()
        .with("CC", Value::Array(cc.view()))
        .with("BCC", Value::Array(bcc.view()));
    let properties = Properties {
        headers: Some(headers.view()),
        ..Default::default()
    };
    let message = letters.reject(properties).await?;
    let expected = [letters.source.as_str(), "copy", "another"];
    let expected: Vec<_> = expected.map(str::to_owned).to_vec();
    expect_eq("routing-keys", last_death(&message)?.routing_keys, expected)
}

/// Reason, queue and exchange of the first or the last death, as the headers tell.
fn told_of(message: &Message, which: &str) -> Result<[Option<String>; 3], Failure> {
    Ok([
        header_text(message, &format!("x-{which}-death-reason"))?,
        header_text(message, &format!("x-{which}-death-queue"))?,
        header_text(message, &format!("x-{which}-death-exchange"))?,
    ])
}

fn three(reason: &str, queue: &str, exchange: &str) -> [Option<String>; 3] {
    [reason, queue, exchange].map(|text| Some(text.to_owned()))
}

async fn first_death(t: &Trial) -> Result<(), Failure> {
    let mut chain = Chain::new(t).await?;
    let message = chain.pass().await?;
    let expected = three("rejected", &chain.first, "");
    expect_eq("x-first-death-*", told_of(&message, "first")?, expected)
}

async fn last_death_is_told(t: &Trial) -> Result<(), Failure> {
    let mut chain = Chain::new(t).await?;
    let message = chain.pass().await?;
    let alternatives = [
        (LAST_IS_NOT_TOLD, [None, None, None]),
        (LAST_IS_TOLD, three("maxlen", &chain.second, "")),
    ];
    let came = told_of(&message, "last")?;
    t.expect_variant_of("x-last-death-*", came, &alternatives)
        .map(drop)
}

/// A history that a publisher sends, with one death in a queue.
fn history(queue: &str) -> ArrayBuf {
    let keys = ArrayBuf::from_iter([Value::LongStr(b"old key")]);
    let death = TableBuf::new()
        .with("count", Value::I64(4))
        .with("reason", Value::LongStr(b"rejected"))
        .with("queue", Value::LongStr(queue.as_bytes()))
        .with("time", Value::Timestamp(1))
        .with("exchange", Value::LongStr(b"old exchange"))
        .with("routing-keys", Value::Array(keys.view()));
    ArrayBuf::from_iter([Value::Table(death.view())])
}

async fn reject_with_history(
    letters: &mut DeadLettering,
    history: Value<'_>,
) -> Result<Message, Failure> {
    let headers = TableBuf::new().with("x-death", history);
    let properties = Properties {
        headers: Some(headers.view()),
        ..Default::default()
    };
    letters.reject(properties).await
}

async fn unless_there_is_a_history(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::new(t).await?;
    let history = history("elsewhere");
    let message = reject_with_history(&mut letters, Value::Array(history.view())).await?;
    let alternatives = [
        (HISTORY_IS_KEPT, [None, None, None]),
        (HISTORY_IS_DROPPED, three("rejected", &letters.source, "")),
    ];
    let came = told_of(&message, "first")?;
    t.expect_variant_of("x-first-death-*", came, &alternatives)
        .map(drop)
}

async fn publishers_array(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::new(t).await?;
    let source = letters.source.clone();
    let elsewhere = history("elsewhere");
    let message = reject_with_history(&mut letters, Value::Array(elsewhere.view())).await?;
    if !t.accepts(HISTORY_IS_KEPT) {
        t.saw(HISTORY_IS_DROPPED);
        return expect_deaths(&message, &[("rejected", &source, 1)]);
    }
    t.saw(HISTORY_IS_KEPT);
    let extended = [
        ("rejected", source.as_str(), 1),
        ("rejected", "elsewhere", 4),
    ];
    expect_deaths(&message, &extended)?;
    let here = history(&source);
    let message = reject_with_history(&mut letters, Value::Array(here.view())).await?;
    let came = last_death(&message)?;
    let came = (came.count, came.time_s, came.exchange.as_str());
    expect_eq("count, time and exchange", came, (5, 1, "old exchange"))
}

async fn publishers_nonsense(t: &Trial) -> Result<(), Failure> {
    let mut letters = DeadLettering::new(t).await?;
    let source = letters.source.clone();
    for nonsense in [Value::LongStr(b"plague"), Value::I32(5)] {
        let message = reject_with_history(&mut letters, nonsense).await?;
        expect_deaths(&message, &[("rejected", &source, 1)])?;
        let headers = headers_of(&message)?;
        let histories = headers.view().entries();
        let histories = histories.filter(|(name, _)| name.0 == b"x-death").count();
        expect_eq("headers called x-death", histories, 1)?;
    }
    Ok(())
}
