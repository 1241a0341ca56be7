//! Definitions without a running broker: trying a file, and exporting from a configuration and what lies
//! in a data directory.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use super::accounts::Accounts;
use super::check::check;
use super::document::Definitions;
use super::export::export;
use super::import::{check_topologies, import};
use super::load::load;
use super::problem::{DefinitionsError, Problems};
use super::report::Report;
use super::scratch::{copy_of, make_nothing};
use crate::access::{Beginning, Kept};
use crate::config::{Config, Salt};
use crate::core::topology::{Ids, Topology};
use crate::durable::catalog::BadEntry;
use crate::durable::restore::restore;

/// A configuration and a data directory from which no definitions can be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OfflineError {
    /// The definitions that the configuration imports are not allowed.
    #[error(transparent)]
    Definitions(#[from] DefinitionsError),
    /// The data directory has an entry that cannot be read.
    #[error(transparent)]
    Catalog(#[from] BadEntry),
}

/// What a broker with this configuration and nothing else would make of definitions.
///
/// # Errors
/// Everything that stands against importing them.
pub fn dry_run(definitions: &Definitions, config: &Config) -> Result<Report, DefinitionsError> {
    let nothing = BTreeMap::new();
    let beginning = Beginning::of(config, Kept::default());
    tried(
        definitions,
        &mut Accounts::of_beginning(&beginning),
        &nothing,
    )
}

/// The definitions that a broker would have if it were started with this configuration on a data
/// directory with this catalog. Changes nothing.
///
/// # Errors
/// What would keep it from starting.
pub fn of_configuration(
    config: &Config,
    catalog: &[(Vec<u8>, Vec<u8>)],
) -> Result<Definitions, OfflineError> {
    let restored = restore(catalog, &Ids::default(), &make_nothing())?;
    let mut topologies = restored.topologies;
    let mut accounts = Accounts::of_beginning(&Beginning::of(config, restored.kept));
    if let Some(path) = &config.load_definitions {
        let definitions = load(path, &config.default_vhost)?;
        tried(&definitions, &mut accounts, &topologies)?;
        add(&definitions, &mut topologies);
    }
    let mut exported = export(&accounts, config.password_hashing, salt);
    topologies
        .values()
        .for_each(|topology| exported.add_topology(topology));
    Ok(exported)
}

fn tried(
    definitions: &Definitions,
    accounts: &mut Accounts,
    topologies: &BTreeMap<Arc<str>, Topology>,
) -> Result<Report, DefinitionsError> {
    let (mut problems, mut report) = (Problems::default(), Report::default());
    report
        .not_honoured
        .extend_from_slice(definitions.not_honoured());
    check(
        definitions,
        &accounts.user_names(),
        &accounts.vhost_names(),
        &mut problems,
    );
    accounts.add(definitions, &mut report);
    check_topologies(
        definitions,
        |name| topologies.get(name),
        &mut problems,
        &mut report,
    );
    problems.verdict()?;
    Ok(report)
}

/// Adds what has been tried before.
fn add(definitions: &Definitions, topologies: &mut BTreeMap<Arc<str>, Topology>) {
    for vhost in definitions.vhosts_of_topology() {
        let topology = topologies.entry(Arc::from(vhost));
        let topology = topology.or_insert_with(|| copy_of(vhost, None));
        topology.declare_predeclared();
        import(
            definitions,
            vhost,
            topology,
            &mut Problems::default(),
            &mut Report::default(),
        );
    }
}

/// Random, or all zero should the system have no random bytes: an export is no login.
pub(crate) fn salt() -> Salt {
    let mut salt = Salt::default();
    let _ = getrandom::fill(&mut salt);
    salt
}
