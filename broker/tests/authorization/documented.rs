//! The table of operations as the documentation has it.

use std::fmt::Write as _;

use leveret::access::operation::{Need, Operation};
use leveret::access::request::AMQP;
use leveret::core::permission::Part;
use leveret_protocol::Method;

const DOCUMENT: &str = include_str!("../../docs/authorization.md");
const BEGIN: &str = "<!-- the table of operations begins -->\n";
const END: &str = "<!-- the table of operations ends -->\n";

#[test]
fn the_documentation_has_the_table_of_operations() {
    let (_, rest) = DOCUMENT.split_once(BEGIN).unwrap();
    let (documented, _) = rest.split_once(END).unwrap();
    let table = table();
    assert!(
        documented == table,
        "broker/docs/authorization.md should say between its marks:\n{table}"
    );
}

fn table() -> String {
    let mut table = String::from("| operation | takes | in AMQP |\n| --- | --- | --- |\n");
    for operation in Operation::ALL {
        let takes: Vec<_> = operation.needs().iter().map(|need| words(*need)).collect();
        let text = operation.text().trim().trim_end_matches('.');
        let (takes, asked_by) = (takes.join("; "), asked_by(*operation));
        writeln!(table, "| {text} | {takes} | {asked_by} |").unwrap();
    }
    table
}

fn asked_by(operation: Operation) -> String {
    let methods = AMQP.iter().filter(|(_, asked)| asked.contains(&operation));
    let methods = methods.map(|(id, _)| {
        let ids = [id.class_id.to_be_bytes(), id.method_id.to_be_bytes()].concat();
        // Enough zeros for the arguments of any method.
        (ids.len()..64)
            .map(|len| [&*ids, &vec![0; len - 4]].concat())
            .find_map(|payload| Some(snake(Method::parse(&payload).ok()?.name())))
            .unwrap()
    });
    let methods: Vec<_> = methods.map(|method| format!("`{method}`")).collect();
    methods.join(", ")
}

/// `queue.DeleteOk` as the specification writes it.
fn snake(name: &str) -> String {
    let (class, method) = name.split_once('.').unwrap();
    format!("{class}.{}", method.to_lowercase())
}

fn words(need: Need) -> String {
    match need {
        Need::Vhost => "a record in the vhost".to_owned(),
        Need::VhostOr(tag) => format!("a record in the vhost, or tag `{}`", tag.as_str()),
        Need::Tag(tag) => format!("tag `{}`", tag.as_str()),
        Need::Permission(permission, part) => {
            format!("**{}** on {}", permission.as_str(), thing(part))
        }
        Need::PermissionOr(permission, part, tag) => format!(
            "**{}** on {}, or tag `{}`",
            permission.as_str(),
            thing(part),
            tag.as_str()
        ),
        Need::OwnOr(tag) => format!("its own, or tag `{}`", tag.as_str()),
        Need::SelfOr(tag) => format!("its own `user-id`, or tag `{}`", tag.as_str()),
        Need::Unlocked => "not exclusive to another connection".to_owned(),
    }
}

fn thing(part: Part) -> &'static str {
    match part {
        Part::Queue => "the queue",
        Part::Exchange => "the exchange",
        Part::DestinationQueue | Part::DestinationExchange => "the destination",
        Part::Source => "the source",
        Part::BindingKey => "the key, if the source is a topic exchange",
        Part::RoutingKey => "the key, if it is a topic exchange",
        Part::DeadLetteringQueue => "the queue, if it is new and has a dead-letter exchange",
        Part::DeadLetterExchange => "the dead-letter exchange",
        Part::DivertingExchange => "the exchange, if it is new and has an alternate",
        Part::AlternateExchange => "the alternate exchange",
        Part::UserId => "the user that is named",
        Part::Owner => "the user whose it is",
    }
}
