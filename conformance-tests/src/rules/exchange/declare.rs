//! Declaring exchanges: types, names and flags.

use lapin::ExchangeKind;
use leveret_protocol::ShortStr;
use leveret_protocol::method::exchange::Declare;

use super::{
    DEFAULT_EXCHANGE_REFUSED, UNKNOWN_TYPES, expect_declare_refused, expect_gone, not_found,
    unknown_type_refusals,
};
use crate::client;
use crate::failure::Failure;
use crate::raw::transient_exchange;
use crate::trial::Trial;

rules! {
    "EXCH-01" predeclared_exchanges [raw] "Every vhost has the durable amq.* exchanges.";
    "EXCH-02" four_types "The types are direct, fanout, topic and headers.";
    "EXCH-02" type_names_are_case_sensitive [raw, variants(&[UNKNOWN_TYPES])]
        "A type's name has one spelling.";
    "EXCH-03" unknown_type [raw, variants(&[UNKNOWN_TYPES])] "An unknown type is refused by name.";
    "EXCH-04" type_is_checked_first [raw, variants(&[UNKNOWN_TYPES])]
        "The type is judged before the name.";
    "EXCH-04" type_is_checked_before_permissions [raw, fixtures, variants(&[UNKNOWN_TYPES])]
        "… and before the permission.";
    "EXCH-05" default_exchange_is_not_declared [raw] "The default exchange cannot be declared.";
    "EXCH-06" reserved_prefix [raw] "New names must not start with amq.";
    "EXCH-07" passive_declare_of_missing [raw] "A passive declare of a missing exchange is 404.";
    "EXCH-08" passive_declare_compares_nothing [raw] "A passive declare checks the name alone.";
    "EXCH-16" nowait_declare [raw] "With no-wait there is no reply, yet the exchange exists.";
    "EXCH-17" any_ticket [raw] "The ticket may be anything.";
    "EXCH-29" line_breaks_are_stripped [raw] "CR and LF are taken out of a declared name.";
    "EXCH-29" any_characters [raw] "Names may hold spaces, slashes, NUL and any UTF-8.";
    "EXCH-30" untestable
        "4.x can limit the number of exchanges in a cluster."
        "the limit is a setting of a 4.x node; 3.x has none";
}

async fn predeclared_exchanges(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let predeclared = [
        ("amq.direct", "direct", false),
        ("amq.fanout", "fanout", false),
        ("amq.topic", "topic", false),
        ("amq.headers", "headers", false),
        ("amq.match", "headers", false),
        ("amq.rabbitmq.trace", "topic", true),
    ];
    for (name, kind, internal) in predeclared {
        // An equivalent declare is accepted, so this checks every property at once.
        let equivalent = Declare {
            durable: true,
            internal,
            ..transient_exchange(name, kind)
        };
        let declared = raw.declare_exchange(1, equivalent).await;
        declared.map_err(|failure| failure.at(name))?;
    }
    Ok(())
}

async fn four_types(t: &Trial) -> Result<(), Failure> {
    let channel = t.channel().await?;
    let kinds = [
        ExchangeKind::Direct,
        ExchangeKind::Fanout,
        ExchangeKind::Topic,
        ExchangeKind::Headers,
    ];
    for (number, kind) in kinds.into_iter().enumerate() {
        let name = t.name(&number.to_string());
        client::declare_exchange(&channel, &name, kind).await?;
    }
    Ok(())
}

async fn type_names_are_case_sensitive(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("x");
    raw.send_method(1, transient_exchange(&name, "Direct"))
        .await?;
    let refusals = unknown_type_refusals("Direct");
    raw.expect_variant(t, &refusals).await.map(drop)
}

async fn unknown_type(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("x");
    raw.send_method(1, transient_exchange(&name, "no-such-type"))
        .await?;
    let refusals = unknown_type_refusals("no-such-type");
    raw.expect_variant(t, &refusals).await.map(drop)
}

async fn type_is_checked_first(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.send_method(1, transient_exchange("", "no-such-type"))
        .await?;
    let refusals = unknown_type_refusals("no-such-type");
    raw.expect_variant(t, &refusals).await.map(drop)
}

async fn type_is_checked_before_permissions(t: &Trial) -> Result<(), Failure> {
    let handshake = t.login("reader");
    let mut raw = t.raw_with(&handshake).await?;
    raw.open_channel(1).await?;
    let name = t.name("x");
    raw.send_method(1, transient_exchange(&name, "no-such-type"))
        .await?;
    let refusals = unknown_type_refusals("no-such-type");
    raw.expect_variant(t, &refusals).await.map(drop)
}

async fn default_exchange_is_not_declared(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    for passive in [false, true] {
        let declare = Declare {
            passive,
            durable: true,
            ..transient_exchange("", "direct")
        };
        expect_declare_refused(&mut raw, declare, 403, DEFAULT_EXCHANGE_REFUSED).await?;
    }
    Ok(())
}

async fn reserved_prefix(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = format!("amq.{}", t.name("x"));
    let text = format!("ACCESS_REFUSED - exchange name '{name}' contains reserved prefix 'amq.*'");
    expect_declare_refused(&mut raw, transient_exchange(&name, "direct"), 403, text).await
}

async fn passive_declare_of_missing(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("x");
    for name in [name.clone(), format!("amq.{name}")] {
        for nowait in [false, true] {
            let declare = Declare {
                passive: true,
                nowait,
                ..transient_exchange(&name, "direct")
            };
            let text = not_found(&name, t.vhost());
            expect_declare_refused(&mut raw, declare, 404, text).await?;
        }
    }
    Ok(())
}

async fn passive_declare_compares_nothing(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("x");
    raw.declare_exchange(1, transient_exchange(&name, "direct"))
        .await?;
    let different = Declare {
        passive: true,
        durable: true,
        auto_delete: true,
        internal: true,
        ..transient_exchange(&name, "no-such-type")
    };
    raw.declare_exchange(1, different).await
}

async fn nowait_declare(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("x");
    let declare = Declare {
        nowait: true,
        ..transient_exchange(&name, "direct")
    };
    raw.send_method(1, declare).await?;
    raw.barrier(1).await?;
    raw.expect_exchange(1, &name).await
}

async fn any_ticket(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("x");
    for ticket in [0, 1, u16::MAX] {
        let declare = Declare {
            ticket,
            ..transient_exchange(&name, "direct")
        };
        raw.declare_exchange(1, declare).await?;
    }
    Ok(())
}

async fn line_breaks_are_stripped(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("px");
    let broken = name.replace("px", "p\r\nx");
    raw.declare_exchange(1, transient_exchange(&broken, "direct"))
        .await?;
    raw.expect_exchange(1, &name).await?;
    raw.delete_exchange(1, &broken).await?;
    expect_gone(&mut raw, &name, t.vhost()).await
}

async fn any_characters(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let prefix = t.name("x");
    for suffix in ["with space", "a/b", "nul\0nul", "ünï→", "#*'\""] {
        let name = format!("{prefix}{suffix}");
        t.deletes(&name);
        raw.declare_exchange(1, transient_exchange(&name, "fanout"))
            .await?;
        raw.expect_exchange(1, &name).await?;
    }
    let longest = format!("{prefix}{}", "n".repeat(ShortStr::LEN_MAX - prefix.len()));
    t.deletes(&longest);
    raw.declare_exchange(1, transient_exchange(&longest, "fanout"))
        .await?;
    raw.expect_exchange(1, &longest).await
}
