//! The queues, the exchange and the bindings of a run, and where each message goes.
//!
//! ```text
//!   default   key = queue's name                                   ──▶ that queue
//!   direct    key = PREFIX-0 ... one per binding                   ──▶ queue (binding mod queues)
//!   topic     key = PREFIX.0.x ... for the pattern PREFIX.0.*      ──▶ the same
//!   headers   header binding = 0 ... for x-match all               ──▶ the same
//!   fanout    no key                                               ──▶ every queue
//! ```
//!
//! What it is not: it takes no queue over that holds messages already, unless nothing is published or
//! nothing consumed: they would be counted, and their stamps are none of this run's clock.
//!
//! Invariant: every message reaches [`Topology::copies`] queues, whichever its route.

use leveret_protocol::method::{exchange, queue};
use leveret_protocol::{ShortStr, TableBuf, Value};

use super::super::PerfError;
use super::super::link::{CHANNEL, Link};
use super::super::queues::{self, Kind};
use super::arguments::{ExchangeType, Load};

/// The header that a headers exchange routes by.
const HEADER: &str = "binding";

/// Where messages go.
#[derive(Clone, Debug)]
pub(super) struct Topology {
    kind: ExchangeType,
    exchange: String,
    prefix: String,
    queues: Vec<String>,
    bindings: usize,
    publishers: usize,
}

/// What makes a message go to its queue.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Route {
    pub(super) routing_key: String,
    /// The binding that a headers exchange is to find.
    pub(super) header: Option<i32>,
}

impl Topology {
    /// The topology that the arguments describe.
    pub(super) fn of(arguments: &Load) -> Self {
        let queues = queues::names(&arguments.prefix, arguments.queues);
        let kind = arguments.exchange_type;
        Self {
            kind,
            exchange: match kind {
                ExchangeType::Default => String::new(),
                kind => format!("{}-{}", arguments.prefix, kind.name()),
            },
            prefix: arguments.prefix.clone(),
            bindings: arguments
                .bindings
                .map_or(queues.len(), |count| count as usize),
            queues,
            publishers: arguments.publishers as usize,
        }
    }

    /// The default exchange and these queues, for one publisher.
    pub(super) fn default_exchange(queues: Vec<String>) -> Self {
        Self {
            kind: ExchangeType::Default,
            exchange: String::new(),
            prefix: String::new(),
            bindings: queues.len(),
            publishers: 1,
            queues,
        }
    }

    /// The exchange's name; empty for the default one.
    pub(super) fn exchange(&self) -> &str {
        &self.exchange
    }

    /// The queues of one of so many consumers.
    pub(super) fn share(&self, consumers: u32, index: usize) -> Vec<String> {
        queues::share(&self.queues, consumers as usize, index)
    }

    /// How many queues each message reaches.
    pub(super) fn copies(&self) -> u64 {
        match self.kind {
            ExchangeType::Fanout => self.queues.len() as u64,
            _ => 1,
        }
    }

    /// How many different routes a publisher's messages take.
    pub(super) fn routes(&self, publisher: usize) -> usize {
        let routes = match self.kind {
            ExchangeType::Fanout => 1,
            ExchangeType::Default => {
                let queues = self.queues.len().max(1);
                (queues - publisher % queues).div_ceil(self.publishers.max(1))
            }
            _ => self.bindings,
        };
        routes.max(1)
    }

    /// The route of the `turn`-th message of a publisher. Publishers share the queues of the default
    /// exchange as consumers do. With any other exchange each uses every binding equally often, in an order
    /// that leaps, so that no cache is flattered by neighbours.
    pub(super) fn route(&self, publisher: usize, turn: usize) -> Route {
        let routes = self.routes(publisher);
        let turn = turn % routes;
        match self.kind {
            ExchangeType::Default => {
                let first = publisher % self.queues.len().max(1);
                self.route_of(first + turn * self.publishers.max(1))
            }
            _ => self.route_of((publisher + turn * leap(routes)) % routes),
        }
    }

    fn route_of(&self, binding: usize) -> Route {
        let routing_key = match self.kind {
            ExchangeType::Default => self.queues.get(binding).cloned().unwrap_or_default(),
            ExchangeType::Topic => format!("{}.{binding}.x", self.prefix),
            ExchangeType::Direct => format!("{}-{binding}", self.prefix),
            ExchangeType::Fanout | ExchangeType::Headers => String::new(),
        };
        let header = match self.kind {
            ExchangeType::Headers => i32::try_from(binding).ok(),
            _ => None,
        };
        Route {
            routing_key,
            header,
        }
    }

    /// Queue, key and arguments of each binding.
    fn bindings(&self) -> Vec<(&str, String, TableBuf)> {
        let count = match self.kind {
            ExchangeType::Default => 0,
            ExchangeType::Fanout => self.queues.len(),
            _ => self.bindings,
        };
        let binding = |(index, queue)| {
            let route = self.route_of(index);
            let key = match self.kind {
                ExchangeType::Topic => format!("{}.{index}.*", self.prefix),
                _ => route.routing_key,
            };
            let arguments = route.header.map_or_else(TableBuf::new, |header| {
                TableBuf::new()
                    .with("x-match", Value::LongStr(b"all"))
                    .with(HEADER, Value::I32(header))
            });
            (String::as_str(queue), key, arguments)
        };
        (0..count)
            .zip(self.queues.iter().cycle())
            .map(binding)
            .collect()
    }

    /// Sees that the queues are there.
    ///
    /// # Errors
    /// One of them is not, or the broker is silent.
    pub(super) async fn check_there(&self, link: &mut Link) -> Result<(), PerfError> {
        queues::call(link, &self.queues, Kind::There, |_| ()).await
    }

    /// Declares the queues.
    ///
    /// # Errors
    /// The broker refuses, or one that is to be measured is not empty.
    pub(super) async fn declare(&self, link: &mut Link, load: &Load) -> Result<(), PerfError> {
        let kind = match load.persistent {
            true => Kind::Durable,
            false => Kind::Transient,
        };
        let mut full = None;
        queues::call(link, &self.queues, kind, |declared| {
            if declared.message_count > 0 && full.is_none() {
                full = Some((
                    declared.queue.to_text().into_owned(),
                    declared.message_count,
                ));
            }
        })
        .await?;
        match full {
            Some((queue, messages)) if load.consumers > 0 => Err(PerfError::NotEmpty {
                address: link.address().to_owned(),
                queue,
                messages,
            }),
            _ => Ok(()),
        }
    }

    /// Declares the exchange and binds the queues to it.
    ///
    /// # Errors
    /// The broker refuses, or is silent.
    pub(super) async fn bind(&self, link: &mut Link, durable: bool) -> Result<(), PerfError> {
        if self.kind == ExchangeType::Default {
            return Ok(());
        }
        let declare = exchange::Declare {
            exchange: ShortStr(self.exchange.as_bytes()),
            kind: ShortStr(self.kind.name().as_bytes()),
            durable,
            ..Default::default()
        };
        let awaited = "exchange.declare-ok";
        link.call(CHANNEL, declare, exchange::DeclareOk::ID, awaited)
            .await?;
        let bindings = self.bindings();
        let binds = bindings.iter().map(|(queue, key, arguments)| queue::Bind {
            queue: ShortStr(queue.as_bytes()),
            exchange: ShortStr(self.exchange.as_bytes()),
            routing_key: ShortStr(key.as_bytes()),
            arguments: arguments.view(),
            ..Default::default()
        });
        link.call_each(binds, queue::BindOk::ID, "queue.bind-ok", |_| ())
            .await
    }

    /// Deletes the queues that are empty, up to the first that is not.
    ///
    /// # Errors
    /// One is not, or the broker is silent.
    pub(super) async fn delete_empty(&self, link: &mut Link) -> Result<(), PerfError> {
        queues::delete(link, &self.queues, true).await
    }

    /// Deletes everything, with all messages.
    ///
    /// # Errors
    /// The broker refuses, or is silent.
    pub(super) async fn delete(&self, link: &mut Link) -> Result<(), PerfError> {
        queues::delete(link, &self.queues, false).await?;
        if self.kind != ExchangeType::Default {
            let delete = exchange::Delete {
                exchange: ShortStr(self.exchange.as_bytes()),
                ..Default::default()
            };
            let awaited = "exchange.delete-ok";
            link.call(CHANNEL, delete, exchange::DeleteOk::ID, awaited)
                .await?;
        }
        Ok(())
    }
}

/// The headers table of a message: `binding` for a headers exchange, and two entries more for
/// `--properties`.
pub(super) fn headers(route: &Route, properties: bool) -> Option<TableBuf> {
    let mut table = TableBuf::new();
    if let Some(header) = route.header {
        table = table.with(HEADER, Value::I32(header));
    }
    if properties {
        table = table
            .with("tenant", Value::LongStr(b"example"))
            .with("attempt", Value::I32(1));
    }
    (route.header.is_some() || properties).then_some(table)
}

/// How far to leap so that every one of so many routes is visited: a prime that is no divisor.
fn leap(routes: usize) -> usize {
    const LEAPS: [usize; 2] = [7_919, 7_907];
    let fits = LEAPS.into_iter().find(|leap| !routes.is_multiple_of(*leap));
    fits.unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        load: Load,
    }

    fn topology(line: &str) -> Topology {
        let words = line.split(' ').filter(|word| !word.is_empty());
        Topology::of(&Line::parse_from(std::iter::once("perf").chain(words)).load)
    }

    fn keys(topology: &Topology, publisher: usize, count: usize) -> Vec<String> {
        let key = |turn| topology.route(publisher, turn).routing_key;
        (0..count).map(key).collect()
    }

    #[test]
    fn publishers_share_the_queues_as_consumers_do() {
        for (queues, publishers) in [(3, 1), (3, 2), (5, 2), (4, 4), (2, 3)] {
            let line = format!("--queues {queues} --publishers {publishers} --prefix q");
            let topology = topology(&line);
            assert_eq!((topology.copies(), topology.bindings().len()), (1, 0));
            for publisher in 0..publishers {
                let share = topology.share(publishers as u32, publisher);
                assert_eq!(topology.routes(publisher), share.len());
                let again = share.iter().chain(&share).cloned().collect::<Vec<_>>();
                assert_eq!(keys(&topology, publisher, again.len()), again);
            }
        }
    }

    #[test]
    fn every_binding_is_used_once_per_round() {
        for bindings in [1, 2, 7_919, 15_838, 100_000] {
            let line = format!("--exchange-type topic --bindings {bindings} --prefix q");
            let topology = topology(&line);
            let used: BTreeSet<_> = keys(&topology, 1, bindings).into_iter().collect();
            assert_eq!(used.len(), bindings);
        }
    }

    #[test]
    fn bindings_have_patterns_of_their_own_and_share_the_queues() {
        let topic = topology("--exchange-type topic --queues 2 --bindings 3 --prefix q");
        let bound = |topology: &Topology| {
            let text = |(queue, key, _): &(&str, String, TableBuf)| format!("{queue} {key}");
            topology.bindings().iter().map(text).collect::<Vec<_>>()
        };
        assert_eq!(bound(&topic), ["q-0 q.0.*", "q-1 q.1.*", "q-0 q.2.*"]);
        let direct = topology("--exchange-type direct --queues 2 --prefix q");
        assert_eq!(bound(&direct), ["q-0 q-0", "q-1 q-1"]);
        let fanout = topology("--exchange-type fanout --queues 2 --prefix q");
        assert_eq!(bound(&fanout), ["q-0 ", "q-1 "]);
        assert_eq!((fanout.copies(), fanout.routes(0)), (2, 1));
    }

    #[test]
    fn headers_name_the_binding() {
        let topology = topology("--exchange-type headers --queues 2 --prefix q");
        let route = topology.route_of(1);
        assert_eq!((route.routing_key.as_str(), route.header), ("", Some(1)));
        let table = headers(&route, true).map(|table| table.view().entries().count());
        assert_eq!(table, Some(3));
        let (_, _, arguments) = &topology.bindings()[1];
        assert_eq!(arguments.view().get(HEADER), Some(Value::I32(1)));
        let plain = Route {
            routing_key: String::new(),
            header: None,
        };
        assert!(headers(&plain, false).is_none());
    }
}
