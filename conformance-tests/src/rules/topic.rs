//! Routing by topic exchanges.

use leveret_protocol::method::queue;
use leveret_protocol::{ArrayBuf, Properties, TableBuf, Value};

use super::routing::Routing;
use crate::failure::{Failure, expect_eq};
use crate::raw::Expected;
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("TOPIC", &[RULES]);

variants! { MANY_HASHES: "TOPIC-13" {
    ANY_NUMBER "any-number" "A binding key may have any number of #.";
    TWO_AT_MOST "two-at-most" "A binding key with more than two # is refused.";
} }

rules! {
    "TOPIC-01" words_are_separated_by_dots [raw] "Two dots in a row enclose an empty word.";
    "TOPIC-02" star_is_one_word [raw] "* matches exactly one word, also an empty one.";
    "TOPIC-03" hash_is_any_words [raw] "# matches any number of words anywhere.";
    "TOPIC-04" empty_key_has_no_words [raw] "The empty key matches #, not *.";
    "TOPIC-05" empty_binding_key [raw] "The empty binding key matches the empty key only.";
    "TOPIC-06" star_and_hash [raw] "*.# and #.* match one or more words.";
    "TOPIC-06" repeated_hash [raw] "Two # in a row are one.";
    "TOPIC-07" wildcards_are_whole_words [raw] "Inside a word * and # are ordinary.";
    "TOPIC-08" wildcards_in_the_routing_key [raw] "In a routing key * and # are words.";
    "TOPIC-09" only_empty_words [raw] "Two dots are three empty words.";
    "TOPIC-10" empty_last_word [raw] "A dot at the end adds an empty word.";
    "TOPIC-11" bytes_are_compared [raw] "Case matters, and so does every byte up to 255.";
    "TOPIC-12" arguments_are_identity_only [raw] "Binding arguments do not matter for a match.";
    "TOPIC-13" many_hashes [raw, variants(&[MANY_HASHES])] "How many # a binding key may have.";
    "TOPIC-14" copies_match_too [raw] "Keys in CC and BCC are matched like the routing key.";
}

/// Binds with each key in turn and tries the routing keys that match it and those that do not.
async fn expect_matches(t: &Trial, cases: &[(&str, &[&str], &[&str])]) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "topic").await?;
    for (binding, matching, other) in cases {
        let step = |failure: Failure| failure.at(format!("binding {binding:?}"));
        routing.bind(binding).await?;
        for key in *matching {
            routing.expect_routed(key, true).await.map_err(step)?;
        }
        for key in *other {
            routing.expect_routed(key, false).await.map_err(step)?;
        }
        routing.unbind(binding).await?;
        for key in *matching {
            let gone = routing.expect_routed(key, false).await;
            gone.map_err(|failure| step(failure).at("after unbind"))?;
        }
    }
    Ok(())
}

async fn words_are_separated_by_dots(t: &Trial) -> Result<(), Failure> {
    expect_matches(
        t,
        &[
            ("a.b", &["a.b"], &["a", "b", "ab", "a.b.c", "a..b", "a b"]),
            ("*.*", &["."], &["", "a"]),
            ("a.*", &["a."], &["a"]),
        ],
    )
    .await
}

async fn star_is_one_word(t: &Trial) -> Result<(), Failure> {
    expect_matches(
        t,
        &[
            ("*", &["a", "abc"], &["a.b", ""]),
            ("a.*.b", &["a..b", "a.x.b"], &["a.b", "a.x.y.b"]),
            ("a.*", &["a.", "a.b"], &["a", "a.b.c", "b.a"]),
            ("*.", &["a.", "."], &["a", ".a"]),
        ],
    )
    .await
}

async fn hash_is_any_words(t: &Trial) -> Result<(), Failure> {
    expect_matches(
        t,
        &[
            ("#", &["", "a", "a.b.c", ".", "a."], &[]),
            ("#.b", &["b", "a.b", "a.a.b", ".b"], &["", "a", "b.a"]),
            ("a.#", &["a", "a.b", "a.b.c", "a."], &["", "b", "b.a"]),
            ("a.#.b", &["a.b", "a.x.b", "a.x.y.b"], &["a", "b", "a.b.c"]),
            (
                "#.b.#.d.#",
                &["b.d", "a.b.c.d.e", "b.b.d.d"],
                &["d.b", "b", "a.d"],
            ),
        ],
    )
    .await
}

async fn empty_key_has_no_words(t: &Trial) -> Result<(), Failure> {
    let none: &[&str] = &[];
    expect_matches(
        t,
        &[
            ("*", &["a"], &[""]),
            ("#", &[""], none),
            ("#.#", &[""], none),
        ],
    )
    .await
}

async fn empty_binding_key(t: &Trial) -> Result<(), Failure> {
    expect_matches(t, &[("", &[""], &["a", ".", "#", "*"])]).await
}

async fn star_and_hash(t: &Trial) -> Result<(), Failure> {
    expect_matches(
        t,
        &[
            ("*.#", &["a", "a.b", "a.b.c", "."], &[""]),
            ("#.*", &["a", "a.b", "a.b.c", "."], &[""]),
            ("*.#.*", &["a.b", "a.b.c"], &["", "a"]),
        ],
    )
    .await
}

async fn repeated_hash(t: &Trial) -> Result<(), Failure> {
    expect_matches(
        t,
        &[
            ("a.#.#", &["a", "a.b", "a.b.c"], &["", "b"]),
            ("a.#", &["a", "a.b", "a.b.c"], &["", "b"]),
        ],
    )
    .await?;
    let mut routing = Routing::of_type(t, "topic").await?;
    routing.purge().await?;
    routing.bind("#.#").await?;
    routing.expect_routed("a.b", true).await?;
    expect_eq("message count", routing.purge().await?, 1)
}

async fn wildcards_are_whole_words(t: &Trial) -> Result<(), Failure> {
    expect_matches(
        t,
        &[
            ("a*", &["a*"], &["a", "ab", "a.b"]),
            ("#a", &["#a"], &["a", "b.a", "ba"]),
            ("**", &["**"], &["a", "a.b"]),
        ],
    )
    .await
}

async fn wildcards_in_the_routing_key(t: &Trial) -> Result<(), Failure> {
    expect_matches(
        t,
        &[
            ("*", &["#", "*"], &["#.#"]),
            ("#", &["#", "*", "*.#"], &[]),
            ("a.b", &["a.b"], &["a.*", "a.#", "#", "*.*"]),
        ],
    )
    .await
}

async fn only_empty_words(t: &Trial) -> Result<(), Failure> {
    expect_matches(
        t,
        &[
            ("#", &[".."], &[]),
            ("*.#", &[".."], &[]),
            ("..", &[".."], &[".", "...", "", "a.."]),
            ("*.*", &["."], &[".."]),
        ],
    )
    .await
}

async fn empty_last_word(t: &Trial) -> Result<(), Failure> {
    expect_matches(
        t,
        &[
            ("a.#", &["a.b."], &[]),
            ("a.*.b", &["a.x.b"], &["a.b."]),
            ("a.b", &["a.b"], &["a.b.", ".a.b"]),
        ],
    )
    .await
}

async fn bytes_are_compared(t: &Trial) -> Result<(), Failure> {
    let long = format!("{}.b", "a".repeat(253));
    let (star, other) = (
        format!("{}.*", "a".repeat(253)),
        format!("{}c", &long[..254]),
    );
    let dots = ".".repeat(255);
    expect_matches(
        t,
        &[
            ("Key.ä", &["Key.ä"], &["key.ä", "Key.Ä", "Key.a"]),
            (&long, &[&long], &[&other]),
            (&star, &[&long, &other], &["b"]),
            ("#", &[&dots], &[]),
        ],
    )
    .await
}

async fn arguments_are_identity_only(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "topic").await?;
    let arguments = TableBuf::new().with("a", Value::I32(1));
    routing.bind("a.*").await?;
    routing.bind_with("a.*", arguments.view()).await?;
    routing.expect_routed("a.b", true).await?;
    expect_eq("message count", routing.purge().await?, 1)?;
    routing.unbind("a.*").await?;
    routing.expect_routed("a.b", true).await?;
    routing.unbind_with("a.*", arguments.view()).await?;
    routing.expect_routed("a.b", false).await
}

async fn many_hashes(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "topic").await?;
    let bind = queue::Bind {
        queue: routing.queue.as_str().into(),
        exchange: routing.exchange.as_str().into(),
        routing_key: "#.a.#.b.#".into(),
        ..Default::default()
    };
    let text = "PRECONDITION_FAILED - Topic binding key '#.a.#.b.#' uses 3 '#' wildcards, \
                at most 2 are allowed";
    routing.raw.send_method(1, bind).await?;
    let bound = Expected::method(1, queue::BindOk::ID);
    let refused = Expected::channel_close(1, 406, text, queue::Bind::ID);
    let alternatives = [(ANY_NUMBER, bound), (TWO_AT_MOST, refused)];
    match routing.raw.expect_variant(t, &alternatives).await? {
        ANY_NUMBER => routing.expect_routed("x.a.y.b.z", true).await,
        _ => Ok(()),
    }
}

async fn copies_match_too(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "topic").await?;
    routing.bind("a.*").await?;
    for header in ["CC", "BCC"] {
        for (copy, routed) in [("a.b", true), ("a.b.c", false), ("a", false)] {
            let copies: ArrayBuf = [Value::LongStr(copy.as_bytes())].into_iter().collect();
            let headers = TableBuf::new().with(header, Value::Array(copies.view()));
            let properties = Properties {
                headers: Some(headers.view()),
                ..Default::default()
            };
            let came = routing.is_routed("other", properties).await?;
            expect_eq(format!("whether {header} {copy:?} is routed"), came, routed)?;
        }
    }
    Ok(())
}
