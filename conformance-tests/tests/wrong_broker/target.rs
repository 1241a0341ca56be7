//! A wrong broker as the suite sees it: a Leveret of its own behind a proxy, with an operator and somebody who
//! restarts it.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use leveret_conformance::operator::{CarryingOut, Duty, Order};
use leveret_conformance::restart::Restarting;
use leveret_conformance::{Operator, Restart, Rule, Stop, Target};

use crate::in_process::{self, Restartable};
use crate::mutation::How;
use crate::proxy::Proxy;
use crate::wire::Wire;

/// One wrong broker.
pub struct WrongBroker {
    pub target: Arc<Target>,
    /// Ends with the wrong broker.
    _proxy: Arc<Proxy>,
    behind: Behind,
}

/// The right one behind it.
enum Behind {
    /// Keeps nothing.
    Memory(leveret::Broker),
    /// Keeps its data, for tests that restart it.
    Directory(Arc<Restartable>),
}

impl WrongBroker {
    pub async fn start(rule: &Rule, how: How) -> Result<Self, Box<dyn Error>> {
        let (uri, behind, operator) = right_broker(rule).await?;
        let proxy = Arc::new(Proxy::start(address_in(&uri)?, Wire::pass).await?);
        let change = match how {
            How::Frames(change) => change,
            How::IdleOperator => Wire::pass,
        };
        let uri = format!("amqp://guest:guest@{}/%2f", proxy.address);
        proxy.turn(change);
        let target = match Target::connect(&uri).await {
            Ok(target) => target,
            // So wrong that it is no broker to test; its test is to notice all the same.
            Err(_) => {
                proxy.turn(Wire::pass);
                let target = Target::connect(&uri).await?;
                proxy.turn(change);
                target
            }
        };
        let operator: Arc<dyn Operator> = match how {
            How::IdleOperator => Arc::new(Idle),
            How::Frames(_) => operator,
        };
        let mut target = target.with_operator(operator);
        if let Behind::Directory(broker) = &behind {
            let broker = Arc::clone(broker);
            target = target.with_restart(Arc::new(Restarted {
                broker,
                proxy: Arc::clone(&proxy),
            }));
        }
        Ok(Self {
            target: Arc::new(target),
            _proxy: proxy,
            behind,
        })
    }

    pub async fn stop(self) -> Result<(), Box<dyn Error>> {
        match self.behind {
            Behind::Memory(broker) => in_process::stop(broker).await,
            Behind::Directory(broker) => broker.stop().await?,
        }
        Ok(())
    }
}

async fn right_broker(rule: &Rule) -> Result<(String, Behind, Arc<dyn Operator>), Box<dyn Error>> {
    if rule.runs_alone() {
        let (uri, broker) = Restartable::start().await?;
        return Ok((uri, Behind::Directory(Arc::clone(&broker)), broker));
    }
    let (uri, broker) = in_process::start().await?;
    let operator = Arc::new(in_process::Operated(broker.clone()));
    Ok((uri, Behind::Memory(broker), operator))
}

fn address_in(uri: &str) -> Result<SocketAddr, Box<dyn Error>> {
    let behind_user = uri.rsplit('@').next().ok_or("a URI without an address")?;
    let address = behind_user
        .split('/')
        .next()
        .ok_or("a URI without an address")?;
    Ok(address.parse()?)
}

/// An operator who says that it is done.
#[derive(Debug)]
struct Idle;

impl Operator for Idle {
    fn offers(&self, _: Duty) -> bool {
        true
    }

    fn carry_out(&self, _: Order) -> CarryingOut<'_> {
        Box::pin(async { Ok(()) })
    }
}

/// Restarts the right broker and has the proxy follow it.
#[derive(Debug)]
struct Restarted {
    broker: Arc<Restartable>,
    proxy: Arc<Proxy>,
}

impl Restart for Restarted {
    fn offers(&self, stop: Stop) -> bool {
        Restart::offers(&*self.broker, stop)
    }

    fn restart(&self, stop: Stop) -> Restarting<'_> {
        Box::pin(async move {
            if let Some(address) = self.broker.restart(stop).await? {
                self.proxy.moved(address);
            }
            Ok(None)
        })
    }
}
