//! Deliveries: their order, their tags and who gets them.

use std::time::Duration;

use leveret_protocol::method::{basic, queue};
use leveret_protocol::{MethodId, Value};

use crate::client;
use crate::failure::{Failure, ensure, expect_eq};
use crate::raw::{Event, Expected, RawConnection, transient_exchange};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("DELIV", &[RULES]);

variants! { CONSUMER_TIMEOUT: "DELIV-13" {
    CHANNEL_IS_CLOSED "closes-the-channel" "Who does not ack within the queue's timeout loses the channel.";
    NEVER_TIMES_OUT "has-no-timeout" "A classic queue knows no x-consumer-timeout.";
} }

rules! {
    "DELIV-01" one_sequence_of_tags [raw] "Consumers and gets share one sequence of delivery tags.";
    "DELIV-01" tags_are_not_used_again [raw] "No tag comes twice during a channel's life.";
    "DELIV-02" round_robin "Consumers take turns, across channels and connections.";
    "DELIV-03" blocked_consumer_is_skipped [raw] "A consumer without credit is passed over.";
    "DELIV-04" first_in_first_out [raw] "One publisher's messages come in order.";
    "DELIV-05" redelivered_after_settling [raw] "Redelivered is set after every kind of requeue.";
    "DELIV-05" redelivered_after_channel_close [raw] "… after the end of the channel.";
    "DELIV-05" redelivered_after_loss [raw] "… and after the loss of the connection.";
    "DELIV-06" back_to_its_place [raw] "A requeued message takes its old place.";
    "DELIV-07" back_in_order [raw] "Several requeued messages keep their order.";
    "DELIV-08" back_to_the_same_consumer [raw] "A lone consumer gets its requeued message again.";
    "DELIV-09" dead_letter_is_new [raw] "A dead-lettered message is not marked as redelivered.";
    "DELIV-10" no_ack_ignores_prefetch [raw] "Without acks there is no prefetch limit.";
    "DELIV-10" no_ack_is_settled_when_sent [raw] "… and a lost connection loses what was sent.";
    "DELIV-11" frames_stay_together [raw] "The frames of a delivery are not split by methods.";
    "DELIV-12" original_address [raw] "A delivery names the exchange and key of the publish.";
    "DELIV-12" dead_letter_address [raw] "… or those of the dead-lettering.";
    "DELIV-13" not_acked_in_time [raw, slow(90), variants(&[CONSUMER_TIMEOUT])]
        "Acks must come in time.";
    "DELIV-13" not_acked_after_get [raw, slow(90), variants(&[CONSUMER_TIMEOUT])]
        "… for gets as well.";
}

async fn one_sequence_of_tags(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (one, two, three) = (t.name("one"), t.name("two"), t.name("three"));
    for queue in [&one, &two, &three] {
        raw.declare_queue(1, queue).await?;
    }
    raw.consume(1, &one).await?;
    let no_ack = basic::Consume {
        queue: two.as_str().into(),
        no_ack: true,
        ..Default::default()
    };
    raw.consume_with(1, no_ack).await?;
    raw.publish(1, "", &one, "first").await?;
    expect_eq("tag", raw.expect_delivery(1).await?.delivery_tag, 1)?;
    raw.publish(1, "", &two, "second").await?;
    expect_eq("tag", raw.expect_delivery(1).await?.delivery_tag, 2)?;
    raw.publish_all(1, &three, &["third", "fourth"]).await?;
    let got = raw.get_text(1, &three, "third").await?;
    expect_eq("tag", got.delivery_tag, 3)?;
    let taken = raw.take_text(1, &three, "fourth").await?;
    expect_eq("tag", taken.delivery_tag, 4)?;
    raw.publish(1, "", &one, "fifth").await?;
    expect_eq("tag", raw.expect_delivery(1).await?.delivery_tag, 5)
}

async fn tags_are_not_used_again(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.fill_queue(1, &queue, &["message"]).await?;
    for tag in 1..=5 {
        let got = raw.get_text(1, &queue, "message").await?;
        expect_eq("tag", got.delivery_tag, tag)?;
        raw.reject(1, tag, true).await?;
    }
    raw.close_channel(1).await?;
    raw.open_channel(1).await?;
    let got = raw.get_text(1, &queue, "message").await?;
    expect_eq("tag on a new channel", got.delivery_tag, 1)
}

async fn round_robin(t: &Trial) -> Result<(), Failure> {
    let connection = t.connection().await?;
    let channels = [
        connection.create_channel().await?,
        t.channel().await?,
        connection.create_channel().await?,
    ];
    let queue = t.name("q");
    client::declare_queue(&channels[0], &queue).await?;
    let mut consumers = Vec::new();
    for channel in &channels {
        consumers.push(client::consume(channel, &queue).await?);
    }
    for text in ["a", "b", "c", "d", "e", "f"] {
        client::publish(&channels[0], "", &queue, text).await?;
    }
    for (consumer, texts) in consumers.iter_mut().zip(["ad", "be", "cf"]) {
        let mut came = String::new();
        for _ in 0..2 {
            let delivery = client::next_delivery(consumer).await?;
            came.push_str(&String::from_utf8_lossy(&delivery.data));
        }
        expect_eq("deliveries of one consumer", came, texts)?;
    }
    Ok(())
}

async fn blocked_consumer_is_skipped(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    raw.prefetch(1, 1, false).await?;
    let limited = raw.consume(1, &queue).await?;
    raw.prefetch(1, 0, false).await?;
    let free = raw.consume(1, &queue).await?;
    raw.publish_all(1, &queue, &["a", "b", "c", "d"]).await?;
    let came = raw.expect_texts(1, &["a", "b", "c", "d"]).await?;
    let takers: Vec<&str> = came.iter().map(|came| came.consumer_tag.as_str()).collect();
    let expected = [&*limited, &*free, &*free, &*free];
    expect_eq("who got what", takers, expected)?;
    raw.ack(1, 1).await?;
    raw.publish_all(1, &queue, &["e", "f"]).await?;
    let came = raw.expect_texts(1, &["e", "f"]).await?;
    let again = came.iter().filter(|came| came.consumer_tag == limited);
    expect_eq("deliveries after the ack", again.count(), 1)
}

async fn first_in_first_out(t: &Trial) -> Result<(), Failure> {
    let (mut raw, mut publisher) = (t.raw().await?, t.raw().await?);
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    let texts: Vec<String> = (0..300).map(|number| number.to_string()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let (early, late) = texts.split_at(100);
    publisher.publish_all(1, &queue, early).await?;
    raw.consume(1, &queue).await?;
    publisher.publish_all(1, &queue, late).await?;
    raw.expect_texts(1, &texts).await.map(drop)
}

async fn redelivered_after_settling(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.fill_queue(1, &queue, &["m"]).await?;
    let first = raw.get_text(1, &queue, "m").await?;
    ensure(!first.redelivered, "the first delivery is marked")?;
    raw.nack(1, first.delivery_tag, true).await?;
    let second = raw.get_text(1, &queue, "m").await?;
    ensure(second.redelivered, "no mark after a nack")?;
    raw.reject(1, second.delivery_tag, true).await?;
    let third = raw.get_text(1, &queue, "m").await?;
    ensure(third.redelivered, "no mark after a reject")?;
    raw.ack(1, third.delivery_tag).await?;
    raw.publish(1, "", &queue, "n").await?;
    raw.get_text(1, &queue, "n").await?;
    raw.recover(1).await?;
    let recovered = raw.get_text(1, &queue, "n").await?;
    ensure(recovered.redelivered, "no mark after a recover")
}

async fn redelivered_after_channel_close(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.fill_queue(1, &queue, &["seen", "unseen"]).await?;
    raw.get_text(1, &queue, "seen").await?;
    raw.close_channel(1).await?;
    raw.open_channel(1).await?;
    raw.consume(1, &queue).await?;
    let came = raw.expect_texts(1, &["seen", "unseen"]).await?;
    let marks: Vec<bool> = came.iter().map(|message| message.redelivered).collect();
    expect_eq("redelivered", marks, [true, false])
}

async fn redelivered_after_loss(t: &Trial) -> Result<(), Failure> {
    let (mut raw, mut other) = (t.raw().await?, t.raw().await?);
    let queue = t.name("q");
    other.declare_queue(1, &queue).await?;
    raw.consume(1, &queue).await?;
    other.consume(1, &queue).await?;
    raw.publish(1, "", &queue, "lost").await?;
    let first = raw.expect_delivery(1).await?;
    ensure(!first.redelivered, "the first delivery is marked")?;
    drop(raw);
    let second = other.expect_delivery(1).await?;
    ensure(second.redelivered, "no mark after a lost connection")
}

async fn back_to_its_place(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.fill_queue(1, &queue, &["m0", "m1", "m2", "m3"]).await?;
    raw.get_text(1, &queue, "m0").await?;
    let second = raw.get_text(1, &queue, "m1").await?;
    raw.nack(1, second.delivery_tag, true).await?;
    raw.get_text(1, &queue, "m1").await?;
    raw.get_text(1, &queue, "m2").await?;
    raw.nack(1, 1, true).await?;
    raw.take_text(1, &queue, "m0").await?;
    raw.take_text(1, &queue, "m3").await.map(drop)
}

async fn back_in_order(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.fill_queue(1, &queue, &["m0", "m1", "m2", "m3"]).await?;
    for text in ["m0", "m1", "m2"] {
        raw.get_text(1, &queue, text).await?;
    }
    raw.nack_up_to(1, 3, true).await?;
    for text in ["m0", "m1", "m2"] {
        raw.get_text(1, &queue, text).await?;
    }
    for tag in [5, 6, 4] {
        raw.nack(1, tag, true).await?;
    }
    for text in ["m0", "m1", "m2", "m3"] {
        raw.take_text(1, &queue, text).await?;
    }
    Ok(())
}

async fn back_to_the_same_consumer(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.fill_queue(1, &queue, &["m"]).await?;
    let tag = raw.consume(1, &queue).await?;
    let first = raw.expect_delivery(1).await?;
    raw.reject(1, first.delivery_tag, true).await?;
    let second = raw.expect_delivery(1).await?;
    let came = (second.consumer_tag, second.delivery_tag, second.redelivered);
    expect_eq("the redelivery", came, (tag, 2, true))
}

/// Declares a queue `main` whose rejected messages go to the queue `dead`, by the default exchange.
async fn declare_dead_lettering(
    raw: &mut RawConnection,
    main: &str,
    dead: &str,
) -> Result<(), Failure> {
    raw.declare_queue(1, dead).await?;
    let arguments = [
        ("x-dead-letter-exchange", Value::LongStr(b"")),
        ("x-dead-letter-routing-key", Value::LongStr(dead.as_bytes())),
    ];
    raw.declare_queue_with(1, main, &arguments).await
}

async fn dead_letter_is_new(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (main, dead) = (t.name("main"), t.name("dead"));
    declare_dead_lettering(&mut raw, &main, &dead).await?;
    raw.publish(1, "", &main, "m").await?;
    raw.get_text(1, &main, "m").await?;
    raw.nack(1, 1, true).await?;
    let again = raw.get_text(1, &main, "m").await?;
    ensure(again.redelivered, "no mark after a nack")?;
    raw.consume(1, &dead).await?;
    raw.reject(1, again.delivery_tag, false).await?;
    let came = raw.expect_delivery(1).await?;
    ensure(!came.redelivered, "the dead letter is marked")
}

fn consume_no_ack(queue: &str) -> basic::Consume<'_> {
    basic::Consume {
        queue: queue.into(),
        no_ack: true,
        ..Default::default()
    }
}

async fn no_ack_ignores_prefetch(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.fill_queue(1, &queue, &["a", "b", "c"]).await?;
    raw.prefetch(1, 1, false).await?;
    raw.consume_with(1, consume_no_ack(&queue)).await?;
    raw.expect_texts(1, &["a", "b", "c"]).await.map(drop)
}

async fn no_ack_is_settled_when_sent(t: &Trial) -> Result<(), Failure> {
    let (mut raw, mut other) = (t.raw().await?, t.raw().await?);
    let (queue, witness) = (t.name("q"), t.name("witness"));
    other.fill_queue(1, &queue, &["sent"]).await?;
    other.declare_queue(1, &witness).await?;
    // The witness comes back when the connection is gone, so it shows that it is.
    raw.publish(1, "", &witness, "returns").await?;
    raw.get_text(1, &witness, "returns").await?;
    raw.consume_with(1, consume_no_ack(&queue)).await?;
    raw.expect_texts(1, &["sent"]).await?;
    drop(raw);
    other.consume(1, &witness).await?;
    other.expect_texts(1, &["returns"]).await?;
    other.expect_empty(1, &queue).await
}

/// Reading a delivery fails if anything stands between its frames.
async fn frames_stay_together(t: &Trial) -> Result<(), Failure> {
    const COUNT: usize = 20;
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    raw.consume_with(1, consume_no_ack(&queue)).await?;
    let body = "b".repeat(300_000);
    for _ in 0..COUNT {
        raw.publish(1, "", &queue, &body).await?;
        let passive = queue::Declare {
            queue: queue.as_str().into(),
            passive: true,
            ..Default::default()
        };
        raw.send_method(1, passive).await?;
    }
    let (mut answers, mut deliveries) = (0, 0);
    while answers < COUNT || deliveries < COUNT {
        let method = raw.expect_method(1).await?;
        if method.id() == queue::DeclareOk::ID {
            answers += 1;
        } else {
            let message = raw.read_content(1, &method).await?;
            expect_eq("body size", message.body.len(), body.len())?;
            deliveries += 1;
        }
    }
    Ok(())
}

async fn original_address(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (queue, first, second) = (t.name("q"), t.name("first"), t.name("second"));
    raw.declare_queue(1, &queue).await?;
    for exchange in [&first, &second] {
        raw.declare_exchange(1, transient_exchange(exchange, "fanout"))
            .await?;
    }
    raw.bind_exchange(1, &second, &first, "").await?;
    raw.bind(1, &queue, &second, "key of the binding").await?;
    raw.consume(1, &queue).await?;
    raw.publish(1, &first, "key", "m").await?;
    let came = raw.expect_delivery(1).await?;
    let address = (came.exchange, came.routing_key);
    expect_eq("exchange and key", address, (first, "key".to_owned()))
}

async fn dead_letter_address(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (main, dead, exchange) = (t.name("main"), t.name("dead"), t.name("dlx"));
    raw.declare_exchange(1, transient_exchange(&exchange, "fanout"))
        .await?;
    raw.declare_queue(1, &dead).await?;
    raw.bind(1, &dead, &exchange, "").await?;
    let dlx = (
        "x-dead-letter-exchange",
        Value::LongStr(exchange.as_bytes()),
    );
    let key = ("x-dead-letter-routing-key", Value::LongStr(b"dead key"));
    raw.declare_queue_with(1, &main, &[dlx, key]).await?;
    raw.consume(1, &dead).await?;
    raw.publish(1, "", &main, "m").await?;
    let got = raw.get_text(1, &main, "m").await?;
    raw.reject(1, got.delivery_tag, false).await?;
    let came = raw.expect_delivery(1).await?;
    let address = (came.exchange, came.routing_key);
    expect_eq(
        "exchange and key",
        address,
        (exchange, "dead key".to_owned()),
    )
}

/// What a queue's deliveries have until they must be acked.
const CONSUMER_TIMEOUT_MS: i32 = 300;

/// How long the channel of who does not ack may stay open: RabbitMQ looks once in a minute.
const CLOSE_PATIENCE: Duration = Duration::from_secs(75);

/// The channel is closed and the message back in its queue; or else the delivery can be acked later as well.
/// Where the profile accepts both, a broker counts as one without a timeout unless it closes at once.
async fn expect_timed_out(
    t: &Trial,
    raw: &mut RawConnection,
    queue: &str,
    delivery_tag: u64,
) -> Result<(), Failure> {
    raw.set_patience(match t.accepts(NEVER_TIMES_OUT) {
        true => Duration::from_millis(3 * CONSUMER_TIMEOUT_MS as u64),
        false => CLOSE_PATIENCE,
    });
    let event = raw.next_event().await?;
    if event == Event::Nothing && t.accepts(NEVER_TIMES_OUT) {
        t.saw(NEVER_TIMES_OUT);
        raw.ack(1, delivery_tag).await?;
        return raw.barrier(1).await;
    }
    let text = format!(
        "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: \
         {CONSUMER_TIMEOUT_MS} ms. This timeout value can be configured, see consumers doc guide to \
         learn more"
    );
    let close = Expected::channel_close(1, 406, text, MethodId::NONE);
    raw.check_variant(t, &[(CHANNEL_IS_CLOSED, close)], event)
        .await?;
    raw.open_channel(1).await?;
    let inspected = raw.inspect_queue(1, queue).await?;
    expect_eq("consumers", inspected.consumer_count, 0)?;
    let taken = raw.take_text(1, queue, "slow").await?;
    expect_eq("redelivered", taken.redelivered, true)
}

async fn declare_with_timeout(raw: &mut RawConnection, queue: &str) -> Result<(), Failure> {
    let timeout = Value::I32(CONSUMER_TIMEOUT_MS);
    raw.declare_queue_with(1, queue, &[("x-consumer-timeout", timeout)])
        .await?;
    raw.publish(1, "", queue, "slow").await
}

async fn not_acked_in_time(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    declare_with_timeout(&mut raw, &queue).await?;
    raw.consume(1, &queue).await?;
    let delivery = raw.expect_delivery(1).await?;
    expect_timed_out(t, &mut raw, &queue, delivery.delivery_tag).await
}

async fn not_acked_after_get(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    declare_with_timeout(&mut raw, &queue).await?;
    let got = raw.get_text(1, &queue, "slow").await?;
    expect_timed_out(t, &mut raw, &queue, got.delivery_tag).await
}
