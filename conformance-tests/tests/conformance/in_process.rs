//! A Leveret in this process, on a port of the system's choice, with the fixtures; and one that can
//! be restarted, for a test that needs it for itself.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use leveret::config::{AuthMechanism, PermissionConfig};
use leveret::{
    AccountError, AlarmResource, ApplyTo, Broker, Config, Policy, PolicyKind, PolicyValue,
    VhostSettings,
};
use leveret_conformance::operator::{
    CarryingOut, Duty, Order, PermissionsOrder, PolicyName, PolicyOrder, Resource, Setting,
};
use leveret_conformance::restart::Restarting;
use leveret_conformance::{Failure, Operator, Restart, Stop};
use tokio::sync::Mutex;
use tokio::task::JoinError;

const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

/// The fixtures, the same file that the reference RabbitMQ is given.
const DEFINITIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/reference/definitions.json");

/// Starts a broker that keeps nothing, and returns its URI.
pub(crate) async fn start() -> Result<(String, Broker), Box<dyn Error>> {
    let (address, broker) = start_on(None).await?;
    Ok((uri(address), broker))
}

/// Ends the broker.
pub(crate) async fn stop(broker: Broker) {
    broker.shutdown(SHUTDOWN_DEADLINE).await;
}

async fn start_on(data_dir: Option<PathBuf>) -> Result<(SocketAddr, Broker), Box<dyn Error>> {
    let mut config = Config::default().with_definitions(DEFINITIONS);
    config.data_dir = data_dir;
    config.auth_mechanisms.push(AuthMechanism::RabbitCrDemo);
    let broker = off_the_workers(move || Broker::start(config)).await??;
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let address = broker.listen(any_port).await?;
    Ok((address, broker))
}

/// Where waiting for the disk holds up neither the other tests nor their brokers.
async fn off_the_workers<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    tokio::task::spawn_blocking(work).await
}

fn uri(address: SocketAddr) -> String {
    format!("amqp://guest:guest@{address}/%2f")
}

/// A Leveret with a data directory of its own, which comes back on another port each time.
#[derive(Debug)]
pub(crate) struct Restartable {
    /// Holds a directory for each life that began with a copy.
    directory: PathBuf,
    /// None if the last restart failed.
    life: Mutex<Option<Life>>,
}

#[derive(Debug)]
struct Life {
    data_dir: PathBuf,
    broker: Broker,
}

impl Restartable {
    /// Starts the broker and returns it with its URI.
    pub(crate) async fn start() -> Result<(String, Arc<Self>), Box<dyn Error>> {
        let directory = fresh_directory()?;
        let data_dir = directory.join("0");
        let (address, broker) = start_on(Some(data_dir.clone())).await?;
        let restartable = Self {
            directory,
            life: Mutex::new(Some(Life { data_dir, broker })),
        };
        Ok((uri(address), Arc::new(restartable)))
    }

    /// Ends the broker and removes its data.
    pub(crate) async fn stop(&self) -> Result<(), Box<dyn Error>> {
        if let Some(life) = self.life.lock().await.take() {
            stop(life.broker).await;
        }
        let directory = self.directory.clone();
        Ok(off_the_workers(move || std::fs::remove_dir_all(directory)).await??)
    }

    async fn restart_after(&self, stop: Stop) -> Result<SocketAddr, Box<dyn Error>> {
        let mut life = self.life.lock().await;
        let Life { data_dir, broker } = life.take().ok_or("the broker is not running")?;
        // A killed process leaves the files as they were at that moment, so a copy of them is what a
        // crash leaves; what the shutdown does to the originals afterwards is not seen.
        let data_dir = match stop {
            Stop::Clean => data_dir,
            Stop::Crash => off_the_workers(move || copied(&data_dir)).await??,
        };
        // Its last handle keeps the directory locked.
        self::stop(broker).await;
        let (address, broker) = start_on(Some(data_dir.clone())).await?;
        *life = Some(Life { data_dir, broker });
        Ok(address)
    }
}

impl Restart for Restartable {
    fn offers(&self, _: Stop) -> bool {
        true
    }

    fn restart(&self, stop: Stop) -> Restarting<'_> {
        Box::pin(async move {
            // As text, because the error of a library need not be one that may change threads.
            let restarted = self.restart_after(stop).await;
            let restarted = restarted.map_err(|error| error.to_string());
            restarted.map(Some).map_err(Failure::new)
        })
    }
}

/// A Leveret with its operator.
#[derive(Debug)]
pub(crate) struct Operated(pub(crate) Broker);

impl Operator for Operated {
    fn offers(&self, duty: Duty) -> bool {
        offers(duty)
    }

    fn carry_out(&self, order: Order) -> CarryingOut<'_> {
        Box::pin(async move { operate(&self.0, &order).await })
    }
}

impl Operator for Restartable {
    fn offers(&self, duty: Duty) -> bool {
        offers(duty)
    }

    fn carry_out(&self, order: Order) -> CarryingOut<'_> {
        Box::pin(async move {
            let life = self.life.lock().await;
            let life = life.as_ref();
            let life = life.ok_or_else(|| Failure::new("the broker is not running"))?;
            operate(&life.broker, &order).await
        })
    }
}

/// What the library can be asked to do.
fn offers(duty: Duty) -> bool {
    match duty {
        Duty::Alarms | Duty::Policies | Duty::Permissions | Duty::Vhosts => true,
        Duty::Connections => false,
    }
}

async fn operate(broker: &Broker, order: &Order) -> Result<(), Failure> {
    let named = |resource: &Resource| match resource {
        Resource::Memory => AlarmResource::Memory,
        Resource::Disk => AlarmResource::Disk,
    };
    match order {
        Order::RaiseAlarm(resource) => broker.raise_alarm(named(resource)),
        Order::ClearAlarm(resource) => broker.clear_alarm(named(resource)),
        Order::SetPolicy(order) => {
            let set = broker.set_policy(&order.name.vhost, policy(order)?);
            set.map_err(failure)?;
        }
        Order::ClearPolicy(name) => {
            let cleared = broker.clear_policy(&name.vhost, kind(name), &name.name);
            cleared.map_err(failure)?;
        }
        Order::SetPermissions(order) => set_permissions(broker, order).await?,
        Order::AddVhost(name) => add_vhost(broker, name).await.map_err(failure)?,
        Order::DeleteVhost(name) => broker.delete_vhost(name).await.map_err(failure)?,
        Order::CloseConnection { .. } => {
            return Err(Failure::new("the library offers no such order"));
        }
    }
    Ok(())
}

async fn set_permissions(broker: &Broker, order: &PermissionsOrder) -> Result<(), Failure> {
    let permissions = PermissionConfig {
        vhost: order.vhost.clone(),
        configure: order.configure.clone(),
        write: order.write.clone(),
        read: order.read.clone(),
    };
    let set = broker.set_permissions(&order.user, permissions).await;
    set.map_err(failure)
}

/// A vhost that `guest` may do everything in.
async fn add_vhost(broker: &Broker, name: &str) -> Result<(), AccountError> {
    broker.put_vhost(name, VhostSettings::default()).await?;
    let all = PermissionConfig::all(name);
    broker.set_permissions("guest", all).await
}

fn policy(order: &PolicyOrder) -> Result<Policy, Failure> {
    let apply_to = ApplyTo::from_name(order.apply_to);
    let apply_to = apply_to.ok_or_else(|| Failure::new("no such value of apply-to"))?;
    let definition = order.definition.iter().map(|(key, setting)| {
        let value = match setting {
            Setting::Number(number) => PolicyValue::from(*number),
            Setting::Text(text) => PolicyValue::from(text.as_str()),
        };
        (*key, value)
    });
    let (kind, name) = (kind(&order.name), &order.name.name);
    let policy = Policy::new(
        kind,
        name,
        &order.pattern,
        apply_to,
        order.priority,
        definition,
    );
    policy.map_err(failure)
}

fn kind(name: &PolicyName) -> PolicyKind {
    match name.is_operators {
        true => PolicyKind::Operator,
        false => PolicyKind::User,
    }
}

fn failure(error: impl Error) -> Failure {
    Failure::new(error.to_string())
}

fn fresh_directory() -> std::io::Result<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let (process, number) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let name = format!("restartable-{process}-{number}");
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // Left by a run that was killed and had the same process id.
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// Copies a data directory beside itself, under the next number.
fn copied(data_dir: &Path) -> std::io::Result<PathBuf> {
    let number = data_dir.file_name().and_then(|name| name.to_str());
    let number: u32 = number.and_then(|name| name.parse().ok()).unwrap_or(0);
    let copy = data_dir.with_file_name((number + 1).to_string());
    copy_directory(data_dir, &copy)?;
    Ok(copy)
}

fn copy_directory(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
